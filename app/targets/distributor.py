"""TARGET=distributor: receives spans over OTLP and from Kafka, and writes them to topic `spans`."""

from pathlib import Path
from typing import Final

from agents.distributor import agent
from agents.distributor.dead_letters import DeadLetters
from agents.distributor.forwarders.conditions import parse_condition
from agents.distributor.forwarders.forwarder import Forwarder, ForwarderConfig, ForwarderError, Forwarding
from agents.distributor.partition_growth import PartitionGrowth
from agents.distributor.rate_limits import RateLimits
from agents.distributor.record_producer import RecordProducer
from agents.distributor.sources import TopicSource, TopicSources
from agents.distributor.span_inspector import SpanInspector
from agents.distributor.span_log import SpanLogConfig
from agents.distributor.span_rules import SpanRules
from agents.distributor.span_writer import SpanWriter
from agents.distributor.tenant_metrics import TenantMetrics
from agents.distributor.topic_watch import TopicWatch
from agents.distributor.trace_sizes import TraceSizes
from app.errors import SettingsError
from app.net.tenant import SINGLE_TENANT
from app.process.tenant_limits import LimitsTable, Recent
from app.receivers.ingress import Intake, Tenancy
from app.settings import Settings
from app.settings.sections.span_copies import Forwarder as ForwarderSettings
from app.settings.sections.span_copies import LogSpans
from app.targets.receiver_servers import ReceiverServers
from app.targets.shared import Shared, Target, stream_app
from tables.wire.otlp.raw_spans import RawSpans

_COUNT_S: Final = 1.0


def build(settings: Settings, shared: Shared) -> Target:
    """The receivers, and the agent that reads the topics of foreign collectors. Raises: SettingsError"""
    limits, metrics = _limits(shared), TenantMetrics(settings.distributor.tenant_metrics_max)
    forwarding = Forwarding({one.name: _forwarder(one) for one in settings.distributor.forwarders})
    producer = _producer(settings, shared)
    writer = _span_writer(settings, producer, _inspector(settings, shared, limits), metrics)
    growth = PartitionGrowth(producer, shared.members, 2 * settings.members.heartbeat_period)
    writer.on_acknowledged(shared.consumers.ends.note)
    app = stream_app(settings, shared, "distributor")
    sources, receiver = _sources(settings), settings.distributor.receivers.kafka
    dead = None
    if receiver.dead_letter_topic:
        dead = DeadLetters(shared.kafka, receiver.dead_letter_topic, settings.kafka.decompressed_bytes_max)
        app.parts.append(dead)
    watch = TopicWatch(app, shared.kafka, sources, receiver.topic_refresh_s)
    if sources.has_patterns:
        app.before_start.append(watch.begin)
        app.parts.append(watch)
    tenancy = Tenancy(limits, RateLimits(limits), metrics, forwarding, RawSpans())
    intake = Intake(tenancy, "kafka", "kafka")
    agent.register(app, sources, writer, settings.distributor.decode_s_max, dead, intake.took)
    return Target(
        apps={"distributor": app},
        topics={"distributor": sources.topics},
        servers=[ReceiverServers(settings, writer, tenancy), growth],
        partitions_written=lambda: growth.announced,
    )


def _limits(shared: Shared) -> LimitsTable:
    """Limits of all distributors together are divided by those that are alive."""
    return LimitsTable(shared.overrides, Recent(lambda: len(shared.members.alive("distributor")), _COUNT_S))


def _producer(settings: Settings, shared: Shared) -> RecordProducer:
    kafka = settings.kafka
    return RecordProducer(shared.kafka, kafka.topic, kafka.max_message_bytes, kafka.write_timeout_s)


def _sources(settings: Settings) -> TopicSources:
    """The topic that is always read, and those of the settings."""
    kafka, receiver = settings.kafka, settings.distributor.receivers.kafka
    others = [
        TopicSource(
            topics=entry.topics,
            encoding=entry.encoding,
            excluded=entry.exclude_topics,
            tenant_from=entry.tenant_from,
            header=entry.tenant_header.lower(),
            tenant=entry.tenant or SINGLE_TENANT,
        )
        for entry in receiver.traces
    ]
    own = (kafka.topic, kafka.compaction_topic, receiver.dead_letter_topic)
    return TopicSources([TopicSource([kafka.otlp_topic], tenant=SINGLE_TENANT), *others], never=own)


def _span_writer(
    settings: Settings, producer: RecordProducer, inspector: SpanInspector, metrics: TenantMetrics
) -> SpanWriter:
    limits = settings.distributor
    return SpanWriter(
        producer, settings.kafka.max_message_bytes, limits.max_attribute_bytes, limits.decode_s_max, inspector, metrics
    )


def _inspector(settings: Settings, shared: Shared, limits: LimitsTable) -> SpanInspector:
    section = settings.distributor
    rules = SpanRules(limits, TraceSizes(section.trace_sizes.traces_max, section.trace_sizes.idle))
    received, discarded = _log_config(section.log_received_spans), _log_config(section.log_discarded_spans)
    return SpanInspector(limits, rules, shared.usage, received, discarded)


def _log_config(section: LogSpans) -> SpanLogConfig:
    return SpanLogConfig(section.enabled, section.include_all_attributes, section.filter_by_status_error)


def _forwarder(section: ForwarderSettings) -> Forwarder:
    tls = section.otlpgrpc.tls
    try:
        return Forwarder(
            ForwarderConfig(
                section.name,
                section.otlpgrpc.endpoints,
                None if tls.insecure else Path(tls.cert_file),
                [parse_condition(text) for text in section.filter.traces.span],
                section.queue_bytes_max,
                section.timeout,
                section.retry_for,
            )
        )
    except ForwarderError as err:
        raise SettingsError(f"distributor.forwarders {section.name}: otlpgrpc.tls.cert_file: {err}") from err
