"""A Stretto whose worker reaches its Kafka through a proxy only."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.standalone import jars, kafka, maven
from app.standalone.ports import free_ports
from benchmarks.hostile.kafka_proxy import KafkaProxy
from tests.harness.cluster import BenchError, Cluster

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
_STOP_S: Final = 10.0


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
    port, controller_port, proxy_port = free_ports(3)
    with _kafka(folder, port, controller_port, proxy_port) as process, KafkaProxy(proxy_port, port) as proxy:
        address = {"KAFKA_URL": f"kafka://127.0.0.1:{proxy_port}"}
        with Cluster(folder, {**SETTINGS, **address, **(settings or {})}) as cluster:
            yield BehindProxy(cluster, proxy, f"127.0.0.1:{port}", process.pid)


@contextmanager
def _kafka(folder: Path, port: int, controller_port: int, proxy_port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A Kafka that tells its clients to come to the proxy."""
    pinned = jars.locked()
    files = jars.ensure(pinned, jars.cache_dir(os.environ, jars.kafka_version(pinned)), print, maven.fetch)
    broker = kafka.Broker(folder / "kafka", folder / "kafka.log", port, controller_port, tuple(files), 4, 8 << 20, 3600)
    kafka.prepare(broker)
    advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{proxy_port}"}
    lines = [f"{key}={value}\n" for key, value in {**kafka.properties(broker), **_KAFKA, **advertised}.items()]
    (broker.folder / "server.properties").write_text("".join(lines), encoding="ascii")
    runtime = kafka.java()
    with broker.log.open("wb") as log:
        command = kafka.format_command(broker, runtime, os.environ)
        subprocess.run(command.argv, env=dict(command.env), stdout=log, stderr=log, check=True)
        command = kafka.server_command(broker, runtime, os.environ)
        process = subprocess.Popen(command.argv, env=dict(command.env), stdout=log, stderr=log)
    try:
        time.sleep(0.1)
        if (status := process.poll()) is not None:
            raise BenchError(f"Kafka ended with status {status}: see {broker.log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
