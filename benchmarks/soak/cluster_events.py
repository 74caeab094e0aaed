"""What goes wrong where several workers run: one stands still, members come and go, all are exchanged, the network is
away.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.hostile.kafka_proxy import Fault, KafkaProxy
from benchmarks.soak.events import RECOVERY_S, Kind, all_of, ready
from tests.harness.cluster import BenchError, Cluster
from tests.harness.other_process import OtherProcess

FREEZE_WORKER_S: Final = 12.0  # longer than the session timeout: its partitions go to others meanwhile
NETWORK_AWAY_S: Final = 8.0
STAYS_S: Final = 5.0
_POLL_S: Final = 0.1


def cluster_kinds(proxy: KafkaProxy | None = None) -> dict[str, Kind]:
    """All that can happen to several workers, by the word that the command line has for it. proxy: between them and
    Kafka, if there is one
    """
    found = {
        "freeze-worker": Kind(f"SIGSTOP worker {FREEZE_WORKER_S:g} s", "worker", signal.SIGSTOP, FREEZE_WORKER_S),
        "join": Kind("a live store joins and leaves", "worker", None, STAYS_S, do=join_and_leave),
        "join-killed": Kind("a live store joins and is killed", "worker", None, STAYS_S, do=join_and_die),
        "rolling-restart": Kind("rolling restart, twice", "worker", None, 1.0, do=rolling_restart),
    }
    if proxy is not None:
        found["network"] = Kind(
            f"network to Kafka away {NETWORK_AWAY_S:g} s", "worker", None, NETWORK_AWAY_S, do=network_away(proxy)
        )
    return found


def rolling_restart(cluster: Cluster) -> None:
    """Each worker is told to end once the one before is back, as an orchestrator does; two rounds."""
    for _ in range(2):
        for pid in sorted(one.pid for one in all_of(cluster, "worker")):
            count = len(all_of(cluster, "worker"))
            os.kill(pid, signal.SIGTERM)
            _until(partial(_exchanged, cluster, pid, count), "a worker is not back", cluster)


def _exchanged(cluster: Cluster, pid: int, count: int) -> bool:
    there = [one.pid for one in all_of(cluster, "worker")]
    return pid not in there and len(there) == count and ready(cluster)


def join_and_leave(cluster: Cluster) -> None:
    """One more live store takes partitions, and gives them back when it stops."""
    _joined(cluster, lambda other: other.stop())


def join_and_die(cluster: Cluster) -> None:
    """One more live store takes partitions, and is killed."""
    _joined(cluster, lambda other: other.kill())


def _joined(cluster: Cluster, end: Callable[[OtherProcess], object]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="joined-", dir=cluster.data_dir.parent))
    with OtherProcess(cluster, folder, "live-store") as other:
        client = other.client()
        _until(lambda: _is_ready(client.ready), "the further live store is not ready", cluster)
        time.sleep(STAYS_S)
        end(other)
    shutil.rmtree(folder)


def _is_ready(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:
        return False


def network_away(proxy: KafkaProxy) -> Callable[[Cluster], None]:
    """What goes to Kafka, and what comes from there, is lost; connections stay as they are."""

    def lose(_: Cluster) -> None:
        proxy.set(Fault(client="", requests=True, answers=True))
        time.sleep(NETWORK_AWAY_S)
        proxy.set()
        proxy.cut()  # as when a route is found again: what was lost on a connection does not come any more

    return lose


def _until(holds: Callable[[], bool], problem: str, cluster: Cluster) -> None:
    deadline_s = time.monotonic() + RECOVERY_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise BenchError(f"{problem} after {RECOVERY_S:g} s\n{cluster.log_end()}")
        time.sleep(_POLL_S)
