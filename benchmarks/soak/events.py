"""What goes wrong, on purpose: processes are killed, stopped, told to end, storage goes away, under load."""

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Final

from benchmarks import measure
from benchmarks.soak.load import Loader
from tests.harness.cluster import BenchError, Cluster

RECOVERY_S: Final = 120.0
SETTLE_S: Final = 2.0  # an interruption that comes a moment after readiness belongs to the event too
FREEZE_S: Final = 5.0
POLL_S: Final = 0.05
GAP_SHARE: Final = (0.67, 1.33)  # of the mean time between events


@dataclass(frozen=True, slots=True)
class Kind:
    """signal: what the process gets; None: the object storage goes away, or what `do` does. lasts_s: 0: it is over at
    once.
    """

    name: str
    process: str
    signal: signal.Signals | None
    lasts_s: float = 0.0
    do: Callable[[Cluster], None] | None = None  # returns when it is over

    @property
    def ends(self) -> bool:
        """Whether another process takes its place."""
        return not self.lasts_s


def kinds(storage_away_s: float) -> dict[str, Kind]:
    """All that can happen, by the word that the command line has for it."""
    return {
        "kill-worker": Kind("kill -9 worker", "worker", signal.SIGKILL),
        "kill-kafka": Kind("kill -9 kafka", "kafka", signal.SIGKILL),
        "stop-worker": Kind("SIGTERM worker", "worker", signal.SIGTERM),
        "freeze-kafka": Kind(f"SIGSTOP kafka {FREEZE_S:g} s", "kafka", signal.SIGSTOP, FREEZE_S),
        "storage": Kind(f"storage away {storage_away_s:g} s", "worker", None, storage_away_s),
    }


@dataclass(frozen=True, slots=True)
class Event:
    """What happened. Seconds from the event's begin, but at_s: from the load's."""

    kind: str
    at_s: float
    ready_s: float  # until the process is there again and /ready says so
    acks_s: float  # until no interruption of the acknowledgements follows; 0: there was none
    unanswered: int  # requests that were not acknowledged


class Schedule:
    """Kinds in random order, each as often as the others; random times between them. A seed fixes both."""

    def __init__(self, kinds: Sequence[Kind], seed: int, every_s: float) -> None:
        self._kinds, self._every_s = kinds, every_s
        self._rng = Random(seed)
        self._bag: list[Kind] = []

    def pause_s(self) -> float:
        """From one event to the next."""
        return self._every_s * self._rng.uniform(*GAP_SHARE)

    def next(self) -> Kind:
        if not self._bag:
            self._bag = list(self._kinds)
            self._rng.shuffle(self._bag)
        return self._bag.pop()


def cause(kind: Kind, cluster: Cluster, loader: Loader, began_s: float) -> Event:
    """Do it, and wait until all is well again. Raises BenchError where that takes longer than RECOVERY_S."""
    errors = loader.errors.total()
    all_before = all_of(cluster, kind.process)
    assert all_before, f"no {kind.process} runs"
    start_s = time.monotonic()
    before = Random(int(start_s * 1000)).choice(all_before)
    if kind.do is not None:
        kind.do(cluster)
    elif kind.signal is None:
        with storage_away(cluster.data_dir / "blocks"):
            time.sleep(kind.lasts_s)
    else:
        os.kill(before.pid, kind.signal)
    if kind.signal == signal.SIGSTOP:
        try:
            time.sleep(kind.lasts_s)
        finally:
            os.kill(before.pid, signal.SIGCONT)
    ready_s, over_s = 0.0, time.monotonic()
    while True:
        now_s = time.monotonic()
        there = [one.pid for one in all_of(cluster, kind.process)]
        well = len(there) == len(all_before) and not (kind.ends and before.pid in there) and ready(cluster)
        ready_s = (ready_s or now_s) if well else 0.0
        if ready_s and loader.acknowledged_since(ready_s if kind.ends else start_s) and now_s - ready_s > SETTLE_S:
            break
        if now_s - over_s > RECOVERY_S:
            raise BenchError(
                f"{kind.name}: {RECOVERY_S:g} s later it is "
                f"{'ready but acknowledges nothing' if ready_s else 'not ready'}\n{cluster.log_end()}"
            )
        time.sleep(POLL_S)
    return Event(
        kind.name,
        round(start_s - began_s, 1),
        round(ready_s - start_s, 1),
        round(loader.interrupted_until_s(start_s) - start_s, 1),
        loader.errors.total() - errors,
    )


@contextmanager
def storage_away(folder: Path) -> Iterator[None]:
    """Every access to the folder of the blocks fails: a file stands in its place."""
    hidden = folder.with_name(f"{folder.name}.away")
    folder.rename(hidden)
    try:
        folder.touch()
        yield
    finally:
        folder.unlink()
        hidden.rename(folder)


def all_of(cluster: Cluster, name: str) -> list[measure.Process]:
    return [one for one in cluster.processes() if one.name == name]


def ready(cluster: Cluster) -> bool:
    """Whether all workers say so."""
    try:
        urls = list(cluster.worker_urls().values()) if cluster.workers > 1 else [cluster.http_url]
        return len(urls) == cluster.workers and all(map(_is_ready, urls))
    except OSError:  # among it HTTPError: 503
        return False


def _is_ready(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/ready", timeout=2) as answer:
        return bool(answer.status == HTTPStatus.OK)


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float  # from the load's begin
    pid: int
    name: str
    resident_bytes: int


class Sampler(threading.Thread):
    """Notes the memory of worker and Kafka every so often."""

    def __init__(self, cluster: Cluster, every_s: float = 5.0) -> None:
        super().__init__(name="soak-memory", daemon=True)
        self.samples: list[Sample] = []
        self._cluster, self._every_s = cluster, every_s
        self._finish = threading.Event()
        self._began_s = time.monotonic()

    def run(self) -> None:
        while not self._finish.wait(self._every_s):
            try:
                family = self._cluster.processes()
            except BenchError:  # the supervisor has ended: the main thread tells
                return
            at_s = round(time.monotonic() - self._began_s, 1)
            for one in family:
                if one.name in ("worker", "kafka") and (resident := measure.resident_bytes(one.pid)):
                    self.samples.append(Sample(at_s, one.pid, one.name, resident))

    def finish(self) -> None:
        self._finish.set()
        self.join()
