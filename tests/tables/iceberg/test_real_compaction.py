"""Iceberg tables beside the real compactor: flushes, merges and retention of its own, all through one table."""

from pathlib import Path

import polars as pl

from agents.compactor.tenant_blocks import tenant_blocks
from app.settings import Settings
from benchmarks.months.simulation import Months, Plan
from tables.iceberg.sync import IcebergTables
from tables.iceberg.tables import IcebergConfig

DAY_S = 86_400


def test_each_span_is_in_the_table_once(tmp_path: Path) -> None:
    months = Months(Plan(days=1, partitions=2, spans=20), tmp_path, Settings())
    (tenant,) = months.plan.names
    config = IcebergConfig(local_catalog={"type": "sql", "uri": f"sqlite:///{tmp_path}/iceberg.db"})
    tables = IcebergTables(months.store, config)

    def synced() -> int:
        """Syncs what a compactor sees; returns the number of spans by polars, and checks the ids."""
        blocks = months.block_list()
        blocks.poll(range(months.plan.partitions))
        tables.sync(tenant_blocks(blocks, tenant).shown)
        table = tables._catalog.load_table(("stretto", tenant))
        ids = pl.scan_iceberg(table, reader_override="native").select("trace_id", "span_id").collect()
        assert ids.n_unique() == len(ids)
        return len(ids)

    seen_merges = 0
    for number in range(1, 37):
        months.flush()
        if number % 6 == 0:
            assert synced() == months.written.flushed_spans
            seen_merges += months.written.merges > seen_merges
    assert seen_merges > 1
    old = months.written.flushed_spans
    months.now_s += 15 * DAY_S
    for _ in range(2):
        months.flush()
    assert synced() == months.written.flushed_spans - old
