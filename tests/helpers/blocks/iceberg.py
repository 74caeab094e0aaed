"""A bucket whose blocks have an Iceberg table: flushes, compactions and retention, and what engines read from it."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tables.blocks.meta import BlockMeta
from tables.catalog.changes import add_blocks, remove_blocks, replace_blocks
from tables.catalog.tenant_index import TenantIndex
from tables.iceberg.sync import IcebergChange, IcebergTables
from tables.iceberg.tables import IcebergConfig
from tables.storage.object_store import ObjectStore
from tests.helpers.blocks.written_blocks import TENANT, WrittenBlocks
from tests.helpers.generator.truth import spans_of
from tests.helpers.storage.moto_s3 import MotoS3

Answers = dict[str, Any]


class IcebergBucket:
    """What is visible is `index`; `sync` brings the table to it."""

    def __init__(self, store: ObjectStore, folder: Path, s3: MotoS3 | None = None, **config: Any) -> None:
        self.store = store
        self.blocks = WrittenBlocks(store, columns_max=config.pop("attribute_columns", 1000))
        self.index = TenantIndex(config.pop("tenant", TENANT))
        local = {"type": "sql", "uri": f"sqlite:///{folder}/iceberg.db"}
        self.config = IcebergConfig(local_catalog=local, file_io=s3.iceberg if s3 else {}, **config)
        self.options = s3.polars if s3 else None  # for polars
        self.tables = IcebergTables(store, self.config)

    def another(self) -> IcebergTables:
        """As another process has it, or this one after a restart."""
        return IcebergTables(self.store, self.config)

    def flush(self, *bodies: bytes) -> list[BlockMeta]:
        metas = self.blocks.flush(bodies, self.index.tenant)
        ends = {(meta.cluster_id, meta.partition): meta.last_offset + 1 for meta in metas}
        self._take(add_blocks(self.index, metas, ends))
        return metas

    def compact(self, metas: Sequence[BlockMeta]) -> list[BlockMeta]:
        merged = self.blocks.merged(metas)
        self._take(replace_blocks(self.index, merged, [meta.block_id for meta in metas], time.time()))
        return merged

    def remove(self, metas: Collection[BlockMeta]) -> None:
        self._take(remove_blocks(self.index, [meta.block_id for meta in metas], time.time()))

    def _take(self, changed: TenantIndex | None) -> None:
        assert changed is not None
        self.index = TenantIndex(
            changed.tenant, self.index.version + 1, changed.table, changed.covered, changed.removed
        )

    def sync(self) -> IcebergChange:
        return self.tables.sync(self.index)

    @property
    def table(self) -> Any:
        """The table as a reader's catalog shows it."""
        return self.another()._catalog.load_table((self.config.namespace, self.index.tenant))


def by_polars(table: Any, **options: Any) -> Answers:
    """Numbers from the table, by polars' own reader unless the options say another."""
    spans = pl.scan_iceberg(table, **options)
    service = "resource.service.name"
    counts = spans.group_by(service).agg(
        spans=pl.len(), errors=(pl.col("status_code") == 2).sum(), ns=pl.col("duration_ns").sum()
    )
    return {
        "services": {row[0]: row[1:] for row in counts.collect().iter_rows()},
        "slow": spans.filter(pl.col("duration_ns") > 50_000_000).select(pl.len()).collect().item(),
        "traces": spans.select(pl.col("trace_id").n_unique()).collect().item(),
    }


def by_pyiceberg(table: Any) -> Answers:
    """The same by pyiceberg's scan into Arrow; the filter is pushed down."""
    columns = ("trace_id", "resource.service.name", "status_code", "duration_ns")
    rows = table.scan(selected_fields=columns).to_arrow().to_pylist()
    slow = table.scan(row_filter="duration_ns > 50000000", selected_fields=("duration_ns",)).to_arrow()
    return _answers(
        [(row[columns[0]], row[columns[1]], row["status_code"] == 2, row["duration_ns"]) for row in rows]
    ) | {"slow": len(slow)}


def by_hand(bodies: Sequence[bytes]) -> Answers:
    """The same from the requests."""
    spans = spans_of(bodies)
    return _answers([(one.trace_id, one.service, one.status == "ERROR", round(one.seconds * 1e9)) for one in spans])


def _answers(spans: Sequence[tuple[bytes, str, bool, int]]) -> Answers:
    count, errors, ns = Counter[str](), Counter[str](), Counter[str]()
    for _, service, failed, duration_ns in spans:
        count[service] += 1
        errors[service] += failed
        ns[service] += duration_ns
    return {
        "services": {service: (count[service], errors[service], ns[service]) for service in count},
        "slow": sum(duration_ns > 50_000_000 for *_, duration_ns in spans),
        "traces": len({trace_id for trace_id, *_ in spans}),
    }
