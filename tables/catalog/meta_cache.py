"""Blocks of indexes as objects: the same ones are wanted by one query after the other."""

import threading
from typing import Final

import pyarrow as pa

from tables.blocks.meta import BlockMeta
from tables.catalog.tenant_index import Rows, TenantIndex

# About 3 KB each.
_METAS_MAX: Final = 4096


class MetaCache:
    """Keeps the metas that were used last. Thread-safe."""

    def __init__(self, metas_max: int = _METAS_MAX) -> None:
        self._max = metas_max
        self._metas: dict[str, BlockMeta] = {}
        self._lock = threading.Lock()

    def of_rows(self, index: TenantIndex, rows: Rows) -> list[BlockMeta]:
        """As `TenantIndex.metas`. A block never changes, so one of an older version of the index is the same."""
        if len(rows) > self._max // 2:
            return index.metas(rows)
        ids = index.table["block_id"].take(pa.array(rows, pa.int64())).to_pylist()
        keys = [f"{index.tenant}/{block_id}" for block_id in ids]
        with self._lock:
            kept = [self._metas.pop(key, None) for key in keys]
        missing = [number for number, meta in enumerate(kept) if meta is None]
        made = dict(zip(missing, index.metas(rows[missing]), strict=True)) if missing else {}
        found = [made[number] if meta is None else meta for number, meta in enumerate(kept)]
        with self._lock:
            self._metas.update(zip(keys, found, strict=True))  # behind all others: used last
            for key in list(self._metas)[: max(len(self._metas) - self._max, 0)]:
                del self._metas[key]
        return found
