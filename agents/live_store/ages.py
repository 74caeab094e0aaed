"""How old the records are that only Kafka and this live store have, and how long Kafka keeps them, as metrics."""

from collections.abc import Iterable

from prometheus_client import Gauge

from tables.live.partition import LivePartition

UNFLUSHED = Gauge(
    "stretto_live_store_unflushed_seconds",
    "Age of the oldest record that this live store has read and that is in no block yet. Kafka must keep it so long.",
)
RETENTION = Gauge(
    "stretto_kafka_retention_seconds",
    "How long Kafka keeps the records of topic spans, as kafka.retention_s says. A topic that was there before may "
    "have another retention.",
)


def show_ages(partitions: Iterable[LivePartition], now_ms: int, retention_s: float) -> None:
    """Sets the metrics. now_ms: Unix time; the ages are those of the broker's timestamps"""
    oldest_ms = [at for one in partitions if (at := one.oldest_unflushed_ms) is not None]
    UNFLUSHED.set(max(0, now_ms - min(oldest_ms, default=now_ms)) / 1000)
    RETENTION.set(retention_s)
