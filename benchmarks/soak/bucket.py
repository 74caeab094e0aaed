"""A bucket of an S3 server on loopback, behind a proxy that makes it slow, or lets nobody in."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.soak.events import Kind
from tables.storage.config import StorageConfig
from tests.harness.cluster import Cluster
from tests.harness.moto_process import REGION, SECRET, moto_options, moto_process
from tests.helpers.storage.fault_proxy import Delay, Fault, FaultProxy, Status

BUCKET: Final = "soak"
SLOW_S: Final = 2.0  # each answer is later by so much
SLOW_LASTS_S: Final = 20.0
_ANSWER_S: Final = 60.0


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
            f"{s3}REGION": REGION,
            f"{s3}ACCESS_KEY": SECRET,
            f"{s3}SECRET_KEY": SECRET,
        }

    @property
    def config(self) -> StorageConfig:
        """For whoever counts what is in it, past the proxy."""
        # Whoever counts waits for a server that has much to do.
        options = moto_options(self.address)
        return StorageConfig("s3", BUCKET, options=options, read_timeout_s=_ANSWER_S, write_timeout_s=_ANSWER_S)

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
    with moto_process(BUCKET, folder / "bucket.log") as address, FaultProxy(address) as proxy:
        yield SoakBucket(address, proxy)
