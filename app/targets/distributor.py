"""TARGET=distributor: receives spans over OTLP and from Kafka, and writes them to topic `spans`."""

from agents.distributor import agent
from agents.distributor.dead_letters import DeadLetters
from agents.distributor.record_producer import RecordProducer
from agents.distributor.sources import TopicSource, TopicSources
from agents.distributor.span_writer import SpanWriter
from agents.distributor.topic_watch import TopicWatch
from app.net.tenant import SINGLE_TENANT
from app.settings import Settings
from app.targets.receiver_servers import ReceiverServers
from app.targets.shared import Shared, Target, stream_app


def build(settings: Settings, shared: Shared) -> Target:
    """The receivers, and the agent that reads the topic of foreign collectors."""
    writer = _span_writer(settings, shared)
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
    agent.register(app, sources, writer, settings.distributor.decode_s_max, dead)
    return Target(
        apps={"distributor": app}, topics={"distributor": sources.topics}, servers=[ReceiverServers(settings, writer)]
    )


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


def _span_writer(settings: Settings, shared: Shared) -> SpanWriter:
    kafka, limits = settings.kafka, settings.distributor
    producer = RecordProducer(shared.kafka, kafka.topic, kafka.max_message_bytes, kafka.write_timeout_s)
    return SpanWriter(producer, kafka.max_message_bytes, limits.max_attribute_bytes, limits.decode_s_max)
