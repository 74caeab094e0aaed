"""Several workers on one machine: one port for clients, partitions divided, and what happens when one is lost."""

import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.divided import wait_until_divided

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

TAKEN_OVER_S = 10.0


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers. Blocks of a minute, so that most spans are in the live stores alone."""
    folder = tmp_path_factory.mktemp("two")
    long_blocks = {"STRETTO_LIVE_STORE__BLOCK_AGE_S": "60", "STRETTO_WORKERS": "2"}
    with Cluster(folder, {**SHORT_WINDOWS, **long_blocks}) as running:
        wait_until_divided(running)
        yield running


def one_by_one(cluster: Cluster) -> list[Client]:
    """A client of each worker."""
    return [Client(cluster, url) for _, url in sorted(cluster.worker_urls().items())]


def test_each_answers_for_all(two: Cluster) -> None:
    """Counts, traces by id and searches, whoever is asked, though each has half of the partitions."""
    client = Client(two)
    for first in range(1, 61, 3):
        # A connection each: the system gives each to one of the workers.
        assert client.post(request("workers", 3, 2, first_trace=first))[0] == 200
    trace_ids = [(b"workers_" + number.to_bytes(8, "big")).hex() for number in (1, 17, 60)]
    for one in one_by_one(two):
        one.expect_spans("workers", 120)
        assert [len(one.trace_spans(trace_id)) for trace_id in trace_ids] == [2, 2, 2]
        assert len(one.search('{ resource.service.name = "workers" && name = "span 1" }')) == 60
    appended = by_worker(client, "stretto_live_store_spans_appended_total")
    assert set(appended) == {"1", "2"}
    assert min(appended.values()) > 0
    received = by_worker(client, "stretto_spans_received_total")
    assert min(received.get("1", 0), received.get("2", 0)) > 0, "one port, both receive"


def by_worker(client: Client, metric: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{client.http_url}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        if line.startswith(metric + "{"):
            found[line.partition('worker="')[2].partition('"')[0]] += float(line.rpartition(" ")[2])
    return dict(found)


def test_one_log(two: Cluster) -> None:
    """Each line says whose it is."""
    lines = (two.data_dir / "logs" / "worker.log").read_text().splitlines()
    assert {line.partition(" | ")[0] for line in lines} == {"worker-1", "worker-2"}


@pytest.mark.parametrize("how", ["kill -9", "SIGSTOP"])
def test_a_lost_worker(two: Cluster, how: str) -> None:
    """Its partitions answer again within 10 s: it is started again, or the other one takes them over. Never is an
    answer wrong: it has all spans, or says that it has not. When it is back, or wakes up, all is divided again.
    """
    client, service = Client(two), how[:7].replace(" ", "-").lower()
    for first in range(1, 41, 2):
        client.send(request(service, 2, 3, first_trace=first))
    for one in one_by_one(two):
        one.expect_spans(service, 120)
    (lost, _), (_, other_url) = two.worker_urls().items()
    other = Client(two, other_url)
    os.kill(lost, signal.SIGKILL if how == "kill -9" else signal.SIGSTOP)
    lost_s = time.monotonic()
    try:
        assert answered_again_s(other, service, 120, lost_s) < TAKEN_OVER_S
        if how == "SIGSTOP":
            # Half of the new connections to the shared port end at the one that is stopped: try again.
            eventually(lambda: sent(client, request(service, 2, 3, first_trace=101)), bool, 60)
            other.expect_spans(service, 126)
    finally:
        if how == "SIGSTOP":
            os.kill(lost, signal.SIGCONT)
    wait_until_divided(two)
    for one in one_by_one(two):
        one.expect_spans(service, 126 if how == "SIGSTOP" else 120)


def sent(client: Client, body: bytes) -> bool:
    """False where nobody answers in time."""
    try:
        client.send(body, within_s=2)
    except grpc.RpcError as err:
        if err.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
            return False
        raise
    return True


def answered_again_s(client: Client, service: str, spans: int, since_s: float) -> float:
    """When the last refusal was, in seconds. An answer that is not whole is an error."""
    last_s = 0.0
    while (now_s := time.monotonic() - since_s) < TAKEN_OVER_S + 4:
        try:
            assert client.span_count(service) == spans, f"{now_s:.1f} s after the loss"
        except urllib.error.HTTPError as refused:
            if refused.code != 503:
                raise
            last_s = time.monotonic() - since_s
        time.sleep(0.1)
    return last_s


def test_ctrl_c(tmp_path: Path) -> None:
    """All workers and Kafka are gone within 5 s, and all that was acknowledged is found after the next start."""
    settings = {**SHORT_WINDOWS, "STRETTO_WORKERS": "2"}
    with Cluster(tmp_path, settings) as running:
        Client(running).send(request("ctrl-c", 20, 3))
        family = [process.pid for process in running.processes()]
        os.kill(running.pid, signal.SIGINT)
        started_s = time.monotonic()
        eventually(lambda: [pid for pid in family if is_alive(pid)], lambda pids: not pids, 10, "still there")
        assert time.monotonic() - started_s < 5.5
    with Cluster(tmp_path, settings) as again:
        Client(again).expect_spans("ctrl-c", 60, 60)


def is_alive(pid: int) -> bool:
    """Not a zombie either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
