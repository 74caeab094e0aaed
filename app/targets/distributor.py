"""TARGET=distributor: receives spans over OTLP and from Kafka, and writes them to topic `spans`."""

from agents.distributor import agent
from agents.distributor.partition_growth import PartitionGrowth
from agents.distributor.record_producer import RecordProducer
from agents.distributor.span_writer import SpanWriter
from app.net.tenant import SINGLE_TENANT
from app.settings import Settings
from app.targets.receiver_servers import ReceiverServers
from app.targets.shared import Shared, Target, stream_app


def build(settings: Settings, shared: Shared) -> Target:
    """The receivers, and the agent that reads the topic of foreign collectors."""
    producer = _producer(settings)
    limits = settings.distributor
    writer = SpanWriter(producer, settings.kafka.max_message_bytes, limits.max_attribute_bytes, limits.decode_s_max)
    growth = PartitionGrowth(producer, shared.members, 2 * settings.members.heartbeat_period)
    writer.on_acknowledged(shared.consumers.ends.note)
    app = stream_app(settings, "distributor")
    agent.register(app, settings.kafka.otlp_topic, writer, SINGLE_TENANT)
    return Target(
        apps={"distributor": app},
        servers=[ReceiverServers(settings, writer), growth],
        partitions_written=lambda: growth.announced,
    )


def _producer(settings: Settings) -> RecordProducer:
    kafka = settings.kafka
    return RecordProducer(kafka.address, kafka.topic, kafka.max_message_bytes, kafka.write_timeout_s)
