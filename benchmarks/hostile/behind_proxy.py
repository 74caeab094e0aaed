"""A Stretto whose worker reaches its Kafka through a proxy only."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.hostile.kafka_proxy import KafkaProxy
from tests.harness.brokers import Brokers
from tests.harness.cluster import Cluster
from tests.harness.ports import own_port

# Short, so that a stall is longer than all of them within seconds.
SETTINGS: Final = {
    "STRETTO_KAFKA__SESSION_TIMEOUT_S": "3",
    "STRETTO_KAFKA__CONSUME_STALL_S": "7",
    "STRETTO_KAFKA__START_STALL_S": "20",
    "STRETTO_KAFKA__LAG_S_MAX": "3",
    "STRETTO_KAFKA__WRITE_TIMEOUT_S": "3",
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "5",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "15",
}
_KAFKA: Final = {"group.min.session.timeout.ms": "1000"}


@dataclass(frozen=True, slots=True)
class BehindProxy:
    """kafka_address: Kafka itself, past the proxy"""

    cluster: Cluster
    proxy: KafkaProxy
    kafka_address: str
    kafka_pid: int


@contextmanager
def behind_proxy(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[BehindProxy]:
    """Running and ready inside, stopped outside. folder: exists, for all that is written. Raises: BenchError"""
    proxy_port = own_port()
    # Clients are told to come to the proxy.
    with (
        Brokers(folder, settings=_KAFKA, advertised_port=proxy_port) as brokers,
        KafkaProxy(proxy_port, brokers.ports[0]) as proxy,
    ):
        address = {"KAFKA_URL": f"kafka://127.0.0.1:{proxy_port}"}
        with Cluster(folder, {**SETTINGS, **address, **(settings or {})}) as cluster:
            yield BehindProxy(cluster, proxy, brokers.addresses[0], brokers.pid())
