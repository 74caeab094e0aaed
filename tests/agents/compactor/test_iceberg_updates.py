"""Iceberg tables follow what the leader of the compactors does."""

import threading
from pathlib import Path
from typing import Any

import pytest

from agents.compactor.iceberg_updates import IcebergUpdates
from tables.catalog.tenant_index import TenantIndex
from tables.errors import StorageError
from tests.helpers.blocks.compactors import GRACE_S, WINDOW_S, Bucket, Compactor, Reader


class FakeTables:
    """Notes the block ids that each tenant's table was brought to."""

    def __init__(self) -> None:
        self.synced: list[tuple[str, frozenset[str]]] = []
        self.errors: list[Exception] = []
        self.may = threading.Event()
        self.may.set()

    def sync(self, index: TenantIndex) -> None:
        assert self.may.wait(10)
        if self.errors:
            raise self.errors.pop()
        self.synced.append((index.tenant, frozenset(index.table["block_id"].to_pylist())))

    def cancel(self) -> None:
        self.errors = [StorageError("cancelled")]
        self.may.set()

    @property
    def newest(self) -> dict[str, frozenset[str]]:
        return dict(self.synced)


def updates_of(tables: FakeTables) -> IcebergUpdates:
    made: Any = tables
    return IcebergUpdates(lambda: made)


def test_tables_have_what_queries_see(tmp_path: Path) -> None:
    """After flushes that no index has yet, after merges, and after retention."""
    bucket = Bucket(tmp_path)
    compactor, reader, tables = Compactor(bucket), Reader(bucket), FakeTables()
    updates = updates_of(tables)
    compactor.leader._show = updates.show

    def check() -> None:
        compactor.settle()
        assert updates.wait()
        reader.poll()
        assert tables.newest == {
            tenant: frozenset(meta.block_id for meta in reader.visible(tenant)) for tenant in bucket.tenants
        }

    for _ in range(3):
        bucket.flush(0, {"a": 2, "b": 1})
        bucket.flush(1, {"a": 1})
        bucket.now_s += 60
    check()
    bucket.now_s += 3 * WINDOW_S
    check()
    assert max(meta.level for meta in reader.visible("a")) > 0
    bucket.now_s += 30 * GRACE_S
    check()
    assert tables.newest == {"a": frozenset(), "b": frozenset()}


def test_only_the_newest_state_waits() -> None:
    tables = FakeTables()
    updates = updates_of(tables)
    tables.may.clear()
    for version in range(1, 5):
        updates.show(TenantIndex("a", version))
        updates.show(TenantIndex("b", version))
    tables.may.set()
    assert updates.wait()
    assert sorted(tenant for tenant, _ in tables.synced) in (["a", "a", "b"], ["a", "b"])


def test_an_error_holds_up_neither_others_nor_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    tables = FakeTables()
    updates = updates_of(tables)
    tables.errors = [StorageError("the catalog is away"), ValueError("a bug")]
    for tenant in ("a", "b", "c"):
        updates.show(TenantIndex(tenant, 1))
    assert updates.wait()
    assert set(tables.newest) == {"c"}
    assert "waits for the next cycle: the catalog is away" in caplog.text
    assert "the Iceberg table of tenant a was not updated" in caplog.text
    updates.show(TenantIndex("a", 1))
    assert updates.wait()
    assert set(tables.newest) == {"a", "c"}


def test_a_catalog_that_is_away_is_opened_later() -> None:
    tables, answers = FakeTables(), [StorageError("away")]

    def open_tables() -> Any:
        if answers:
            raise answers.pop()
        return tables

    updates = IcebergUpdates(open_tables)
    for _ in range(2):
        updates.show(TenantIndex("a", 1))
        assert updates.wait()
    assert set(tables.newest) == {"a"}


def test_nothing_begins_after_the_end() -> None:
    """And what runs is told."""
    tables = FakeTables()
    updates = updates_of(tables)
    updates.show(TenantIndex("a", 1))
    assert updates.wait()
    tables.may.clear()
    for tenant in ("b", "c"):
        updates.show(TenantIndex(tenant, 1))
    updates.end()
    updates.show(TenantIndex("d", 1))
    updates._thread.join(10)
    assert not updates._thread.is_alive()
    assert set(tables.newest) == {"a"}
