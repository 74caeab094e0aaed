"""Blocks are merged and deleted while spans arrive, queries run, and the worker is killed: every count stays exact."""

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.ports import own_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

COMPACTION = "STRETTO_COMPACTOR__COMPACTION__"
# A block every two seconds; windows of ten seconds, and of four minutes, which do not end during the test.
PARTITIONS, WINDOW_S = 4, 10
QUICK = {
    **SHORT_WINDOWS,
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "1",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "2",
    "STRETTO_QUERY__TIMEOUT_S": "5",
    "STRETTO_COMPACTOR__CHECKPOINT_INTERVAL": "5s",
    f"{COMPACTION}COMPACTION_CYCLE": "500ms",
    f"{COMPACTION}COMPACTION_WINDOW": f"{WINDOW_S}s",
    f"{COMPACTION}INPUT_BLOCKS_MIN": "3",
    f"{COMPACTION}INPUT_BLOCKS_MAX": "8",
    f"{COMPACTION}COMPACTED_BLOCK_RETENTION": "8s",
}
ROUNDS = 24
KILLED_AT = (8, 16)
SPANS = 40


def folders(cluster: Cluster) -> set[Path]:
    return {path.parent for path in (cluster.data_dir / "blocks/blocks").rglob("meta.json")}


def new_folders(cluster: Cluster, seen: frozenset[Path]) -> set[Path]:
    return folders(cluster) - seen


def windows_since(began_s: float) -> int:
    """How many windows there may be: one more than ended, and the one that the time began within."""
    return int((time.monotonic() - began_s) / WINDOW_S) + 2


def test_compaction(tmp_path: Path) -> None:
    with Cluster(tmp_path, QUICK) as cluster:
        client = Client(cluster)
        seen: set[Path] = set()
        began_s = time.monotonic()
        for round_ in range(ROUNDS):
            client.send(request("merged", SPANS // 2, 2, first_trace=1 + round_ * SPANS))
            client.expect_spans("merged", SPANS * (round_ + 1))
            seen |= eventually(partial(new_folders, cluster, frozenset(seen)), bool, 60, "no block was flushed")
            if round_ in KILLED_AT:
                eventually(lambda: client.metric("tempodb_compaction_blocks_total"), bool, 60, "nothing was merged")
                client.kill_worker()
        total = SPANS * ROUNDS

        def settled() -> int:
            """Folders of blocks; counts meanwhile."""
            assert client.span_count("merged") == total
            return len(folders(cluster))

        most = PARTITIONS * windows_since(began_s)
        eventually(settled, lambda count: count <= most, 90, "blocks are not merged, or not deleted")
        assert len(seen) > 20
        assert client.metric("tempodb_retention_deleted_total") > 0
        trace = client.search('{ resource.service.name = "merged" }')[0]["traceID"]
        assert len(client.trace_spans(trace)) == 2
    # Another start, with a short retention: all of it is old.
    with Cluster(tmp_path, {**QUICK, f"{COMPACTION}BLOCK_RETENTION": "2s"}) as cluster:
        client = Client(cluster)
        eventually(lambda: client.span_count("merged"), lambda count: count == 0, 60, "nothing is too old")
        eventually(lambda: folders(cluster), lambda found: not found, 60, "objects of old blocks are still there")
        client.send(request("young", 5, 2))
        client.expect_spans("young", 10)


class OwnCompactor:
    """A process with TARGET=compactor beside a cluster, over the same Kafka and the same bucket."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.port = own_port()
        folder.mkdir()
        self.log = folder / "compactor.log"
        environment = {
            **cluster.environment,
            "TARGET": "compactor",
            "PORT": str(self.port),
            "KAFKA_URL": cluster.kafka_address,
            "STORAGE_URL": f"file://{cluster.data_dir}/blocks",
            "STRETTO_DATA_DIR": str(folder / "data"),
            "STRETTO_COMPACTOR__DISABLED": "false",
        }
        command = [str(Path(sys.executable).with_name("faust")), "-A", "app", "-L", "uvloop", "worker", "--without-web"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def ring(self) -> Any:
        url = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/compactor/ring", headers={"Accept": "application/json"}
        )
        with urllib.request.urlopen(url, timeout=20) as reply:
            return json.loads(reply.read())["shards"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def test_compactors_of_their_own(tmp_path: Path) -> None:
    """Two processes, one of which leads. It is killed: the other one leads, and all blocks are merged by it."""
    with Cluster(tmp_path, {**QUICK, "STRETTO_COMPACTOR__DISABLED": "true"}) as cluster, ExitStack() as undo:
        client = Client(cluster)
        pair = [OwnCompactor(cluster, tmp_path / name) for name in ("one", "two")]
        for each in pair:
            undo.callback(each.kill)

        def leaders() -> list[OwnCompactor]:
            return [each for each in pair if each.process.poll() is None and each.metric("stretto_compaction_leader")]

        (first,) = eventually(leaders, lambda found: len(found) == 1, 90, "no leader")

        def is_whole(ring: Any) -> bool:
            return len(ring) == len(pair) and sum(len(one["partitions"]) for one in ring) == PARTITIONS

        eventually(first.ring, is_whole, 60, "the ring does not have both")
        (other,) = (each for each in pair if each is not first)
        seen: set[Path] = set()
        began_s = time.monotonic()
        for round_ in range(5):
            client.send(request("apart", SPANS // 2, 2, first_trace=1 + round_ * SPANS))
            client.expect_spans("apart", SPANS * (round_ + 1))
            seen |= eventually(partial(new_folders, cluster, frozenset(seen)), bool, 60, "no block was flushed")
        most = PARTITIONS * windows_since(began_s)
        first.kill()
        eventually(leaders, lambda found: found == [other], 60, "nobody leads")
        eventually(
            lambda: len(folders(cluster)), lambda count: count <= most, 120, "blocks are not merged, or not deleted"
        )
        client.expect_spans("apart", 5 * SPANS)
        assert other.metric("tempodb_compaction_blocks_total") > 0
