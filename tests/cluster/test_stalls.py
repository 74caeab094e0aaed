"""Kafka and the worker stall for longer than sessions and rebalances last: consuming goes on without help.

`python -m benchmarks.hostile.stalls` does the same, more often and at random.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.hostile import kafka_proxy as proxy
from benchmarks.hostile.behind_proxy import BehindProxy, behind_proxy
from benchmarks.hostile.canary import Canary
from benchmarks.hostile.kafka_proxy import Fault
from benchmarks.hostile.stalls import LAG_S_MAX, Stall, cause, kill_worker
from tests.harness.client import Client, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NO_BEATS = Fault(frozenset({proxy.HEARTBEAT}), requests=True)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BehindProxy]:
    with behind_proxy(tmp_path_factory.mktemp("stalls")) as running:
        yield running


@pytest.fixture(scope="module")
def canary(there: BehindProxy) -> Iterator[Canary]:
    found = Canary(there.cluster, LAG_S_MAX)
    found.start()
    yield found
    found.finish()


def lost(*apis: int) -> Fault:
    return Fault(frozenset(apis), answers=True)


@pytest.mark.parametrize(
    ("stall", "lasts_s"),
    [
        (Stall("JoinGroup answers lost", (NO_BEATS, lost(proxy.JOIN_GROUP))), 5.0),
        (Stall("SyncGroup answers lost", (NO_BEATS, lost(proxy.SYNC_GROUP))), 5.0),
        (Stall("OffsetFetch answers lost", (NO_BEATS, lost(proxy.OFFSET_FETCH))), 5.0),
        (Stall("Fetch answers lost", (lost(proxy.FETCH),)), 1.0),
        (Stall("all answers lost", (lost(),)), 5.0),
        (Stall("SIGSTOP worker", stopped="worker"), 6.0),
        (Stall("SIGSTOP Kafka while joining", (NO_BEATS,), stopped="kafka"), 6.0),
    ],
    ids=lambda value: value.name if isinstance(value, Stall) else "",
)
def test_stall(there: BehindProxy, canary: Canary, stall: Stall, lasts_s: float) -> None:
    """All that was acknowledged is found soon after, and no search told less than the truth meanwhile."""
    outcome = cause(stall, lasts_s, there, canary)
    assert outcome.problem == ""
    eventually(Client(there.cluster).ready, bool, 60, "not ready")


@pytest.mark.parametrize(
    ("api", "client", "skip"),
    [(proxy.METADATA, "faust", 0), (proxy.METADATA, "aiokafka", 7), (proxy.METADATA, "aiokafka-producer", 0)],
    ids=["consumer", "admin", "producer"],
)
def test_stall_while_starting(there: BehindProxy, canary: Canary, api: int, client: str, skip: int) -> None:
    """An answer to each of the clients is lost: asked for again. aiokafka would wait for 40 s, Faust for 20 minutes."""
    stall = Stall("an answer lost while starting", (Fault(frozenset({api}), client, answers=True),), skip=skip)
    outcome = cause(stall, 2.0, there, canary)
    assert (outcome.problem, outcome.restarted) == ("", False)
    assert outcome.well_s < 30


def test_start_that_hangs(there: BehindProxy) -> None:
    """The consumer never gets its answer, while Kafka answers others: /ready says so, then the process ends."""
    client = Client(there.cluster)
    kill_worker(there)
    there.proxy.set(lost(proxy.METADATA))
    try:
        eventually(lambda: not_ready(client), lambda text: "its start has not ended" in text, 60, "/ready")
        reason = "this process ends, to be started again: live-store: its start has not ended, "  # and after how long
        eventually(there.cluster.log.read_text, lambda text: reason in text, 40, "still there")
    finally:
        there.proxy.set()
    line = next(one for one in there.cluster.log.read_text().splitlines() if reason in one)
    assert "CRITICAL" in line
    assert "consumer_thread.py" in line  # where it hangs
    eventually(client.ready, bool, 60, "not ready")


def test_said_meanwhile(there: BehindProxy, canary: Canary) -> None:
    """While nothing is fetched: /ready says so, searches are refused, the ring shows how far behind it is; and what
    is acknowledged is told apart from what is there until the consumer was made anew.
    """
    client = Client(there.cluster)
    rebuilt = client.metric("stretto_consumer_rebuilds_total")
    there.proxy.set(Fault(frozenset({proxy.FETCH}), requests=True))
    try:
        eventually(lambda: not_ready(client), lambda text: "live store: partition" in text, 20, "/ready")
        # Not for long: the watchdog makes a new consumer, whose requests are lost too.
        with pytest.raises(urllib.error.HTTPError) as refused:
            client.search("{ }")
        assert refused.value.code == 503
        assert "recent spans of partition" in refused.value.read().decode()
        assert any(one.get("lag", 0) > 0 for shard in ring(client) for one in shard.get("offsets", ()))
        eventually(lambda: client.metric("stretto_consumer_lag_records"), lambda n: n > 0, 5, "no lag")
        eventually(lambda: client.metric("stretto_consumer_rebuilds_total"), lambda n: n > rebuilt, 25, "no rebuild")
    finally:
        there.proxy.set()
    service = canary.next()
    eventually(lambda: canary.missing(service), lambda text: not text, 45, "not found")
    eventually(client.ready, bool, 60, "not ready")
    assert not canary.lies


def not_ready(client: Client) -> str:
    """What /ready says; "": it is."""
    try:
        with urllib.request.urlopen(f"{client.cluster.http_url}/ready", timeout=5):
            return ""
    except urllib.error.HTTPError as err:
        return err.read().decode()
    except OSError as err:
        return repr(err)


def ring(client: Client) -> list[dict[str, object]]:
    """The live stores, with the offsets of this one."""
    url = f"{client.cluster.http_url}/live-store/ring"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "application/json"})) as reply:
        found: list[dict[str, object]] = json.loads(reply.read())["shards"]
        return found
