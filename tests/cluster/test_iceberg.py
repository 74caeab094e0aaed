"""A running Stretto keeps an Iceberg table while it flushes, merges and is killed: the table has every span once."""

from pathlib import Path

import polars as pl
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROUNDS, SPANS = 6, 40
COMPACTION = "STRETTO_COMPACTOR__COMPACTION__"
# A block every two seconds, and merges of three of them. A reader may take its time: the files of a snapshot stay.
QUICK = {
    **SHORT_WINDOWS,
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "1",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "2",
    "STRETTO_STORAGE__ICEBERG__ENABLED": "true",
    f"{COMPACTION}COMPACTION_CYCLE": "500ms",
    f"{COMPACTION}COMPACTION_WINDOW": "10s",
    f"{COMPACTION}INPUT_BLOCKS_MIN": "3",
    f"{COMPACTION}COMPACTED_BLOCK_RETENTION": "10m",
}


def spans_of_table(cluster: Cluster) -> int:
    """The number of spans that polars finds; 0 before there is a table."""
    catalog = load_catalog("stretto", type="sql", uri=f"sqlite:///{cluster.data_dir}/iceberg.db")
    try:
        table = catalog.load_table(("stretto", "single-tenant"))
    except NoSuchTableError:
        return 0
    ids = pl.scan_iceberg(table, reader_override="native").select("trace_id", "span_id").collect()
    assert ids.n_unique() == len(ids)
    return len(ids)


def test_iceberg(tmp_path: Path) -> None:
    with Cluster(tmp_path, QUICK) as cluster:
        client = Client(cluster)
        rounds = 0

        def one_round() -> None:
            nonlocal rounds
            client.send(request("lake", SPANS // 2, 2, first_trace=1 + rounds * SPANS))
            rounds += 1
            client.expect_spans("lake", SPANS * rounds)

        while rounds < ROUNDS:
            one_round()
            if rounds == 1 + ROUNDS // 2:
                eventually(lambda: spans_of_table(cluster), bool, 60, "there is no table")
                client.kill_worker()

        # A window with one block has nothing to merge, and what was merged before the kill is not counted here.
        def merged() -> float:
            one_round()
            return client.metric("tempodb_compaction_blocks_total")

        eventually(merged, bool, 120, "nothing was merged")
        total = SPANS * rounds
        eventually(lambda: spans_of_table(cluster), lambda count: count == total, 60, "the table misses spans")
        assert client.metric("stretto_iceberg_failures_total") == 0
