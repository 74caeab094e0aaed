"""Blocks are merged and deleted while spans arrive, queries run, and the worker is killed: every count stays exact."""

from functools import partial
from pathlib import Path

import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

COMPACTION = "STRETTO_COMPACTOR__COMPACTION__"
# A block every two seconds; windows of ten seconds, and of four minutes, which do not end during the test.
QUICK = {
    **SHORT_WINDOWS,
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "1",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "2",
    "STRETTO_QUERY__TIMEOUT_S": "5",
    "STRETTO_COMPACTOR__CHECKPOINT_INTERVAL": "5s",
    f"{COMPACTION}COMPACTION_CYCLE": "500ms",
    f"{COMPACTION}COMPACTION_WINDOW": "10s",
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


def test_compaction(tmp_path: Path) -> None:
    with Cluster(tmp_path, QUICK) as cluster:
        client = Client(cluster)
        seen: set[Path] = set()
        for round_ in range(ROUNDS):
            client.send(request("merged", SPANS // 2, 2, first_trace=1 + round_ * SPANS))
            client.expect_spans("merged", SPANS * (round_ + 1))
            seen |= eventually(partial(new_folders, cluster, frozenset(seen)), bool, 30, "no block was flushed")
            if round_ in KILLED_AT:
                eventually(lambda: client.metric("tempodb_compaction_blocks_total"), bool, 60, "nothing was merged")
                client.kill_worker()
        total = SPANS * ROUNDS

        def settled() -> int:
            """Folders of blocks; counts meanwhile."""
            assert client.span_count("merged") == total
            return len(folders(cluster))

        # A block for each partition, and a window that is not over or was merged twice.
        eventually(settled, lambda count: count <= 8, 90, "blocks are not merged, or not deleted")
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
