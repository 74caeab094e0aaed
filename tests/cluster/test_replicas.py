"""Two zones, each with a live store of its own for every partition: a lost replica costs nothing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.other_process import OtherProcess
from tests.harness.ports import own_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


# A process that runs everything listens for others only where it is told to.
INTERNAL = "STRETTO_SERVER__GRPC_LISTEN_PORT"


@pytest.fixture(scope="module")
def zones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, OtherProcess]]:
    """`stretto run` in zone a, a live store in zone b."""
    folder = tmp_path_factory.mktemp("zones")
    with (
        Cluster(folder, {**SHORT_WINDOWS, "ZONE": "a", INTERNAL: str(own_port())}) as running,
        OtherProcess(running, folder, "live-store", "zone-b", ZONE="b") as replica,
    ):
        eventually(lambda: partitions_with(Client(running), 2), lambda count: count == 4, 60, "not two of each")
        yield running, replica


def partitions_with(client: Client, replicas: int) -> int:
    """How many partitions have so many replicas that are ready."""
    rows = client.get_json("/partition-ring")["partitions"]
    return sum(len(one.get("owners", [])) == replicas and _active(one) for one in rows)


def _active(row: dict[str, Any]) -> bool:
    return all(one["state"] == "ACTIVE" for one in row["owners"])


def both(zones: tuple[Cluster, OtherProcess]) -> tuple[Client, Client]:
    return Client(zones[0]), zones[1].client()


def test_both_have_all(zones) -> None:
    """Whoever is asked counts each span once."""
    first, second = both(zones)
    first.send(request("replicas", 50, 2))
    for one in (first, second):
        one.expect_spans("replicas", 100)
    rows = eventually(
        lambda: first.get_json("/partition-ring")["partitions"],
        lambda rows: all(len({own["next_offset"] for own in row["owners"]}) == 1 for row in rows),
        what="replicas are not equally far",
    )
    assert {own["zone"] for row in rows for own in row["owners"]} == {"a", "b"}


def test_both_cut_the_same_blocks(zones) -> None:
    """One write wins, the other finds it. Nothing is there twice, and no replica starts over."""
    cluster, _ = zones
    first, second = both(zones)
    first.send(request("blocks", 50, 2))
    for one in (first, second):
        eventually(
            lambda one=one: one.get_json("/partition-ring")["partitions"],
            lambda rows: all(own["flushed"] == own["next_offset"] for row in rows for own in row["owners"]),
            40,
            "not all is in blocks",
        )
        one.expect_spans("blocks", 100)
    ends: dict[Path, list[int]] = {}
    for path in (cluster.data_dir / "blocks" / "cuts").rglob("*.json"):
        ends.setdefault(path.parent, []).append(int(path.stem))
    assert all(len(found) == len(set(found)) for found in ends.values())
    assert first.metric("stretto_block_cut_conflicts_total") == second.metric("stretto_block_cut_conflicts_total") == 0
    assert first.metric("stretto_block_spans_flushed_total") > 0
    assert second.metric("stretto_block_spans_flushed_total") > 0


@pytest.mark.parametrize("lost", ["a", "b"])
def test_a_lost_replica(zones, lost) -> None:
    """kill -9 of one: the other answers whole at once, and goes on with blocks; no query fails. When it is back both
    have all.
    """
    _, replica = zones
    first, second = both(zones)
    service = f"lost-{lost}"
    first.send(request(service, 50, 2))
    for one in (first, second):
        one.expect_spans(service, 100)
    if lost == "a":
        os.kill(first.pid("worker"), signal.SIGKILL)
    else:
        replica.kill()
    lost_s = time.monotonic()
    other = second if lost == "a" else first
    slowest_s = 0.0
    while time.monotonic() - lost_s < 8:
        began_s = time.monotonic()
        assert other.span_count(service) == 100
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        time.sleep(0.05)
    assert slowest_s < 3  # 0.1 on a machine that does nothing else
    if lost == "b":
        replica.start()
    eventually(lambda: partitions_with(first, 2), lambda count: count == 4, 60, "not two of each again")
    first.send(request(service, 5, 2, first_trace=1001))
    for one in both(zones):
        one.expect_spans(service, 110)
