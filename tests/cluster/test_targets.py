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
from typing import Any

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
        while not ends.is_set():
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
