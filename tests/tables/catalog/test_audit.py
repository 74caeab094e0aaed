"""A look at the bucket page by page, and the cache of metas."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tables.catalog import audit
from tables.catalog.audit import Auditor
from tables.catalog.meta_cache import MetaCache
from tables.catalog.tenant_index import TenantIndex, rows_of
from tables.storage.object_store import ObjectStore, Stamp, StorageConfig
from tests.helpers.blocks.catalog import block_meta


class PagedStore(ObjectStore):
    """Lists as S3 does: from a path on, and no further than asked."""

    listed = 0

    def objects(self, prefix: str, after: str | None = None) -> Iterator[tuple[str, Stamp]]:
        self.listed += 1
        yield from (
            item
            for item in sorted(super().objects(prefix), key=lambda item: item[0])
            if after is None or item[0] > after
        )


@pytest.mark.parametrize("backend", ["s3", "local"])
def test_every_file_is_looked_at(tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of pages; each missing file is found, in its round."""
    monkeypatch.setattr(audit, "_PAGE", 3)
    store = PagedStore(StorageConfig("local", str(tmp_path)))
    metas = {tenant: [block_meta(10 * n, 10 * n + 9, tenant=tenant) for n in range(5)] for tenant in ("a", "b", "c")}
    files = [f"{meta.folder}/data-0000.parquet" for of_tenant in metas.values() for meta in of_tenant]
    for path in files:
        store.put(path, b"123456789")
        store.put(path.replace("data-0000.parquet", "meta.json"), b"{}")
    store.config = replace(store.config, backend=backend)
    indexes = [TenantIndex(tenant, 1, rows_of(metas[tenant])) for tenant in ("a", "b")]
    cut_metas = {"c": {meta.block_id: meta for meta in metas["c"]}}

    def damaged(calls: int) -> list[str]:
        auditor, found = Auditor(store), list[str]()
        for _ in range(calls):
            if (page := auditor.next_page()) is not None:
                found += [str(err) for err in auditor.damaged(page, indexes, cut_metas)]
        return found

    calls = 1 + len(files) * 2 // 3
    assert damaged(calls) == []
    gone = {files[0], files[4], files[7], files[14]}
    store.delete(sorted(gone))
    store.put(files[9], b"1")
    expected = [f"{path} is missing" for path in gone] + [f"{files[9]} is shorter than what was written"]
    assert set(damaged(calls)) == set(expected)
    store.listed = 0
    assert damaged(10 * calls).count(f"{files[0]} is missing") >= 10
    # A disk is listed as a whole, but then not again for as long as the pages would have taken.
    assert store.listed <= (10 * calls if backend == "s3" else 14)


def test_a_file_that_was_written_after_the_listing(tmp_path: Path) -> None:
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    auditor, meta = Auditor(store), block_meta(0, 9)
    page: Any = auditor.next_page()
    store.put(f"{meta.folder}/data-0000.parquet", b"123456789")
    assert list(auditor.damaged(page, [], {"t": {meta.block_id: meta}})) == []


def test_metas_are_made_once() -> None:
    """While few are wanted; many would push the useful ones out."""
    index = TenantIndex("t", 1, rows_of(block_meta(n, n) for n in range(20)))
    cache = MetaCache(8)
    rows = np.array([3, 5], np.int64)
    first = cache.of_rows(index, rows)
    assert first == [block_meta(3, 3), block_meta(5, 5)]
    assert all(one is other for one, other in zip(first, cache.of_rows(index, rows), strict=True))
    for number in range(10, 17):
        cache.of_rows(index, np.array([number, 5], np.int64))
    assert cache.of_rows(index, rows)[1] is first[1]
    assert cache.of_rows(index, rows)[0] is not first[0]
    assert cache.of_rows(index, np.arange(20)) == index.metas()
    assert len(cache._metas) <= 8
