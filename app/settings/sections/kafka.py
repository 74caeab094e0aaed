"""The section kafka: brokers, topics, consumer groups, and their times and sizes."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.sections.kafka_security import KafkaTlsSettings, Sasl
from app.settings.values import KIB, MIB, KafkaAddresses, Seconds, TopicName


class Kafka(Section):
    address: KafkaAddresses = Field(
        default=("127.0.0.1:9092",),
        description="Bootstrap brokers, each `host:port`: a list, or one text separated by commas. The default "
        "port is 9092.",
    )
    tls: KafkaTlsSettings = KafkaTlsSettings()
    sasl: Sasl = Sasl()
    topic: TopicName = Field(
        default="spans", description="Topic that holds the spans. Everything else is derived from it."
    )
    otlp_topic: TopicName = Field(
        default="otlp_spans",
        description="Topic to which other Kafka producers write OTLP trace requests (encoding `otlp_proto`).",
    )
    compaction_topic: TopicName = Field(
        default="compaction_jobs", description="Topic over which merges of blocks are handed out to compactors."
    )
    partitions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=4,
        description="Number of partitions of each topic that Stretto creates. Existing topics do not change.",
    )
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] = Field(
        default=1,
        description="Replicas of each partition of a topic that Stretto creates. Use 3 in a production cluster.",
    )
    consumer_group_prefix: TopicName = Field(
        default="stretto", description="Prefix of the names of the consumer groups."
    )
    session_timeout_s: Seconds = Field(
        default=6,
        description="Session timeout of the consumers, in seconds. Kafka reassigns the partitions of a worker that is "
        "silent for longer.",
    )
    write_timeout_s: Seconds = Field(
        default=10,
        description="Seconds to wait for Kafka's acknowledgement. After that the client gets an error that it may "
        "retry.",
    )
    retention_s: Seconds = Field(
        default=24 * 3600,
        description="Retention of the topics that Stretto creates, in seconds. It must be well above "
        "`live_store.block_age_s`: until a block is written, Kafka holds the only safe copy of its "
        "spans.",
    )
    max_message_bytes: Annotated[int, Field(ge=64 * KIB, le=2**31 - 1)] = Field(
        default=8 * MIB,
        description="Largest Kafka record that Stretto writes, in bytes. The topics that Stretto creates get the "
        "same limit.",
    )
    decompressed_bytes_max: Annotated[int, Field(ge=64 * KIB, le=2**31 - 1)] = Field(
        default=64 * MIB,
        description="Largest compressed Kafka batch that is read, in bytes after decompression. A larger batch is "
        "skipped and counted.",
    )
    lag_s_max: Seconds = Field(
        default=5,
        description="Largest lag of a partition, in seconds, behind the end offset that Kafka reports. A partition "
        "that is further behind counts as missing, and searches answer 503.",
    )
    consume_stall_s: Seconds = Field(
        default=12,
        description="Seconds after which a consumer is rebuilt that is not in its group, or reads nothing although "
        "records wait and nothing holds it back. If that does not help, the process ends. The value in "
        "use is at least 1.2 times the rebalance timeout, which follows from `session_timeout_s`, plus "
        "one second.",
    )

    start_stall_s: Seconds = Field(
        default=60,
        description="Seconds, while Kafka answers, after which a process that has not begun to consume since its "
        "start ends, to be started again. Time in which Kafka is away does not count.",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        if self.topic == self.otlp_topic:
            raise conflict("otlp_topic", "must differ from kafka.topic: their records differ in format", "topic")
        for other in ("topic", "otlp_topic"):
            if self.compaction_topic == getattr(self, other):
                raise conflict("compaction_topic", f"must differ from kafka.{other}: its records are jobs", other)
        return self
