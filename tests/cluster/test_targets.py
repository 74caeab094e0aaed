"""Each target in a process of its own: the same answers as of one process, also while processes die."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self

import pytest

from tests.harness.client import START_NS, Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.other_process import OtherProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(280)]

SETTINGS = {
    **SHORT_WINDOWS,
    "TARGET": "distributor,compactor",
    "STRETTO_KAFKA__SESSION_TIMEOUT_S": "6",
    "STRETTO_QUERY_FRONTEND__TARGET_BYTES_PER_JOB": "20000",
}
TRACES, SPANS = 60, 4
PAUSE_S = 0.15  # between a reader's questions: several readers without one would take both processors
LATE_S = 5.0  # so far behind a partition may be: kafka.lag_s_max


class Targets:
    """A distributor with a compactor, two live stores, two queriers and a query frontend."""

    def __init__(self, cluster: Cluster, others: dict[str, OtherProcess]) -> None:
        self.cluster, self.others = cluster, others
        self.frontend = others["query-frontend"].client()
        self.sender = Client(cluster)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    folder = tmp_path_factory.mktemp("targets")
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder, SETTINGS))
        names = ("live-store-1", "live-store-2", "querier-1", "querier-2", "query-frontend")
        others = {
            name: stack.enter_context(OtherProcess(cluster, folder, name.removesuffix("-1").removesuffix("-2"), name))
            for name in names
        }
        for name in names:
            eventually(others[name].client().ready, bool, 90, f"{name} is not ready")
        found = Targets(cluster, others)
        eventually(lambda: divided(found.frontend), bool, 60, "partitions are not divided")
        yield found


def divided(client: Client) -> bool:
    """Whether each live store has some of the partitions."""
    url = urllib.request.Request(f"{client.http_url}/partition-ring", headers={"Accept": "application/json"})
    with urllib.request.urlopen(url, timeout=10) as reply:
        rings = json.loads(reply.read())["partitions"]
    owners = [tuple(one["owner_ids"]) for one in rings]
    return len(set(owners)) == 2 and all(len(of) == 1 for of in owners)


def answers(client: Client, service: str) -> dict[str, Any]:
    """What a process says to every kind of question, without how much work it was."""
    query, end_s = f'{{ resource.service.name = "{service}" }}', START_NS // 10**9
    times = {"start": end_s - 60, "end": end_s + 60}
    trace_id = (service.encode()[:8].ljust(8, b"_") + (7).to_bytes(8, "big")).hex()
    found = {
        "search": client.search(f"{query} >> {{ }}", **times),
        "limited": client.get("/api/search", q=query, limit=5, **times)["traces"],
        "trace": sorted(span["spanId"] for span in client.trace_spans(trace_id)),
        "range": client.get("/api/metrics/query_range", q=f"{query} | rate() by (name)", step="10s", **times)["series"],
        "instant": client.get("/api/metrics/query", q=f"{query} | count_over_time()", **times)["series"],
        "structure": client.get("/api/metrics/query", q=f"{query} >> {{ }} | count_over_time()", **times)["series"],
        "names": client.get("/api/v2/search/tags", q=query, **times)["scopes"],
        "values": client.get("/api/v2/search/tag/name/values", q=query, **times)["tagValues"],
        "roots": client.get("/api/v2/search/tag/rootName/values", **times)["tagValues"],
    }
    for scope in found["names"]:
        scope["tags"] = sorted(scope["tags"])
    return found


def test_the_same_answers(targets: Targets) -> None:
    """From the newest spans, then from blocks, then from merged ones; whoever is asked."""
    for first in range(1, TRACES + 1, 3):
        targets.sender.send(request("equal", 3, SPANS, first_trace=first))
    targets.frontend.expect_spans("equal", TRACES * SPANS)
    first = answers(targets.frontend, "equal")
    assert len(first["search"]) == TRACES
    assert len(first["limited"]) == 5
    assert len(first["trace"]) == SPANS
    assert first["instant"][0]["value"] == TRACES * SPANS
    assert first["structure"][0]["value"] == TRACES * (SPANS - 1)
    alone = targets.others["live-store-1"].client()
    deadline_s = time.monotonic() + 25
    while time.monotonic() < deadline_s:
        for client in (targets.frontend, alone):
            assert answers(client, "equal") == first
            time.sleep(PAUSE_S)
    assert sum(one.client().metric("stretto_querier_jobs_total") for name, one in targets.others.items()) > 0
    flushed = sum(one.client().metric("stretto_block_spans_flushed_total") for one in targets.others.values())
    assert flushed >= TRACES * SPANS


@pytest.mark.parametrize("victim", ["querier-1", "live-store-2"])
def test_killed_while_querying(targets: Targets, victim: str) -> None:
    """An answer has all spans, or is an error that says to ask again."""
    service = victim
    for first in range(1, 31, 3):
        targets.sender.send(request(service, 3, SPANS, first_trace=first))
    targets.frontend.expect_spans(service, 30 * SPANS)
    wrong: list[Any] = []
    refused: list[float] = []
    answered: list[float] = []
    ends = threading.Event()

    def ask() -> None:
        while not ends.wait(PAUSE_S):
            try:
                count = targets.frontend.span_count(service)
                answered.append(time.monotonic())
                if count != 30 * SPANS:
                    wrong.append(count)
            except urllib.error.HTTPError as err:
                refused.append(time.monotonic())
                if err.code != 503:
                    wrong.append((err.code, err.read()))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    time.sleep(1)
    process = targets.others[victim]
    killed_s = time.monotonic()
    os.kill(process.pid, signal.SIGKILL)
    time.sleep(14)
    ends.set()
    for asker in askers:
        asker.join()
    process.kill()
    process.start()
    eventually(process.client().ready, bool, 60, "not ready again")
    assert wrong == []
    assert [at for at in answered if at > killed_s + 12], "answers again"
    if victim.startswith("querier"):
        assert refused == []
    targets.frontend.expect_spans(service, 30 * SPANS)


class Readers:
    """Three that ask all the time how many spans there are, as behind a load balancer: one process after the other,
    where one is not ready. A thread of its own sends.
    """

    def __init__(self, targets: Targets, service: str) -> None:
        self.clients = [targets.frontend, *(one.client() for name, one in targets.others.items() if "live" in name)]
        self.sender, self.service = targets.sender, service
        self.sent = 0
        self.acknowledged: list[tuple[float, int]] = [(0.0, 0)]
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.counts = 0
        self.slowest_s = 0.0
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._send, self._ask, self._ask, self._ask)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._ends.wait(0.1):
            self.sent += SPANS
            self.sender.send(request(self.service, 1, SPANS, first_trace=self.sent // SPANS))
            self.acknowledged.append((time.monotonic(), self.sent))

    def _ask(self) -> None:
        while not self._ends.wait(PAUSE_S):
            began_s = time.monotonic()
            # What was acknowledged long ago must be there; what was not sent cannot.
            least = max(count for at_s, count in list(self.acknowledged) if at_s < began_s - LATE_S)
            try:
                found = self.count()
            except urllib.error.HTTPError as err:
                self.failed.append(f"{err.code}: {err.read().decode()[:200]}")
                continue
            except OSError as err:
                self.failed.append(repr(err))
                continue
            self.counts += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            if not least <= found <= self.sent:
                self.wrong.append(f"{found}, not {least} to {self.sent}")

    def count(self) -> float:
        """As many spans as there are."""
        end_s = START_NS // 10**9
        query = f'{{ resource.service.name = "{self.service}" }} | count_over_time()'
        for client in self.clients:
            try:
                if not client.ready():
                    continue
                series = client.get("/api/metrics/query", q=query, start=end_s - 60, end=end_s + 60)["series"]
            except urllib.error.URLError as err:
                if isinstance(err.reason, ConnectionRefusedError):
                    continue
                raise
            return float(series[0].get("value", 0)) if series else 0.0
        raise ConnectionRefusedError("nobody is ready")


# Those of a row at the same time. With a pause longer than queries wait for a partition: only a hand-over covers it.
ROLLING = ((("live-store-1", "querier-1"), 6.0), (("live-store-2", "querier-2"), 0.0), (("query-frontend",), 0.0))


def test_rolling_restart(targets: Targets) -> None:
    """Each process is told to end, and started again, twice, under load: no query fails, and none has a wrong answer.
    A live store goes on until the other one has its partitions.
    """
    with Readers(targets, "rolling") as readers:
        time.sleep(LATE_S)
        for names, pause_s in ROLLING * 2:
            processes, before = [targets.others[name] for name in names], readers.counts
            for process in processes:
                process.stop()
            time.sleep(pause_s)
            for process in processes:
                process.start()
            for process in processes:
                eventually(process.client().ready, bool, 60, f"{names} are not ready again")
            eventually(lambda: divided(targets.frontend), bool, 60, "partitions are not divided")
            assert readers.counts > before
    assert readers.wrong == []
    assert readers.failed == []
    assert readers.counts > 50
    assert readers.slowest_s < 8
    eventually(readers.count, lambda count: count == readers.sent, 20, "not all spans are there")
