"""A bucket of an S3 server on loopback, behind a proxy that makes it slow, or lets nobody in."""

import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.standalone.ports import free_port
from benchmarks.soak.events import Kind
from tables.storage.config import StorageConfig
from tests.harness.cluster import BenchError, Cluster
from tests.helpers.fault_proxy import Delay, Fault, FaultProxy, Status

BUCKET: Final = "soak"
SLOW_S: Final = 2.0  # each answer is later by so much
SLOW_LASTS_S: Final = 20.0
_SECRET: Final = "soak"
_REGION: Final = "us-east-1"
_READY_S: Final = 60.0
_STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class SoakBucket:
    """address: host:port of the server itself. proxy: between it and the workers"""

    address: str
    proxy: FaultProxy

    @property
    def variables(self) -> dict[str, str]:
        """The settings of the workers."""
        s3 = "STRETTO_STORAGE__TRACE__S3__"
        return {
            "STORAGE_URL": f"s3://{BUCKET}",
            f"{s3}ENDPOINT": f"http://{self.proxy.address}",
            f"{s3}REGION": _REGION,
            f"{s3}ACCESS_KEY": _SECRET,
            f"{s3}SECRET_KEY": _SECRET,
        }

    @property
    def config(self) -> StorageConfig:
        """For whoever counts what is in it, past the proxy."""
        options = {
            "endpoint": f"http://{self.address}",
            "region": _REGION,
            "access_key_id": _SECRET,
            "secret_access_key": _SECRET,
            "virtual_hosted_style_request": False,
            "client_options": {"allow_http": True},
        }
        # Whoever counts waits for a server that has much to do.
        return StorageConfig("s3", BUCKET, options=options, read_timeout_s=_READY_S, write_timeout_s=_READY_S)

    def fails(self, fault: Fault, lasts_s: float) -> Callable[[Cluster], None]:
        """An event: all requests have the fault for a while."""

        def happen(_: Cluster) -> None:
            self.proxy.fail(fault)
            time.sleep(lasts_s)
            self.proxy.heal()

        return happen

    def slow(self) -> Callable[[Cluster], None]:
        """Each answer comes late."""
        return self.fails(Delay(SLOW_S), SLOW_LASTS_S)

    def away(self, lasts_s: float) -> Callable[[Cluster], None]:
        """Every request is refused, as S3 does where it has too much to do."""
        return self.fails(Status(503, "SlowDown"), lasts_s)


def bucket_kinds(of: SoakBucket, away_s: float) -> dict[str, Kind]:
    """All that can happen to a bucket, by the word that the command line has for it."""
    slow = f"bucket slow, {SLOW_S:g} s an answer, {SLOW_LASTS_S:g} s"
    return {
        "slow-bucket": Kind(slow, "worker", None, SLOW_LASTS_S, do=of.slow()),
        "bucket-away": Kind(f"bucket away {away_s:g} s", "worker", None, away_s, do=of.away(away_s)),
    }


@contextmanager
def bucket(folder: Path) -> Iterator[SoakBucket]:
    """Running inside: the server is a process of its own. folder: of its log. Raises: BenchError"""
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "bucket.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _make(address, process, folder / "bucket.log")
        with FaultProxy(address) as proxy:
            yield SoakBucket(address, proxy)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _make(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """The bucket, once the server listens."""
    deadline_s = time.monotonic() + _READY_S
    while True:
        connection = http.client.HTTPConnection(address, timeout=10)
        try:
            connection.request("PUT", f"/{BUCKET}")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise BenchError(f"the S3 server does not answer at {address}: see {log}")
        time.sleep(0.1)
