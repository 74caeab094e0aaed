"""The blocks in a bucket of Tempo: `<tenant>/<block id>/{meta.json,data.parquet,…}`."""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tables.errors import DamagedError
from tables.storage.object_store import ObjectStore
from tables.tempo.block_meta import TempoMeta, decode_tempo_meta

_BLOCK_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_META, _COMPACTED, _DATA = "meta.json", "meta.compacted.json", "data.parquet"
_READERS: Final = 16


@dataclass(frozen=True, slots=True)
class TempoBlock:
    """A block that Tempo's queries read. tenant: Tempo's"""

    tenant: str
    meta: TempoMeta

    @property
    def id(self) -> str:
        """The UUID of the block, as Tempo writes it."""
        return self.meta.block_id

    @property
    def folder(self) -> str:
        """The path of its folder; errors name the block by it."""
        return f"{self.tenant}/{self.meta.block_id}"

    @property
    def data_path(self) -> str:
        """The path of its Parquet file."""
        return f"{self.folder}/{_DATA}"


@dataclass(frozen=True, slots=True)
class TempoBlocks:
    """What a tenant of Tempo has.

    blocks: by start; compacted: ids of those that Tempo has replaced and not deleted yet
    unreadable: one for each block whose meta.json cannot be read
    """

    tenant: str
    blocks: tuple[TempoBlock, ...]
    compacted: frozenset[str]
    unreadable: tuple[DamagedError, ...]


def tenants(store: ObjectStore) -> list[str]:
    """The folders of the bucket: its tenants, and perhaps others, which have no blocks."""
    return [path.rstrip("/") for path in store.folders("")]


def tenant_blocks(store: ObjectStore, tenant: str) -> TempoBlocks:
    """The tenant's blocks. A block without meta.json is not finished, and does not count. Raises: StorageError"""
    there: dict[str, set[str]] = {}
    for path in store.paths(tenant):
        parts = path.split("/")
        if len(parts) == 3 and _BLOCK_ID.fullmatch(parts[1]):
            there.setdefault(parts[1], set()).add(parts[2])
    compacted = frozenset(block_id for block_id, names in there.items() if _COMPACTED in names)
    current = [block_id for block_id, names in there.items() if _META in names and _COMPACTED not in names]
    found, unreadable = [], []
    for meta in _metas(store, tenant, current):
        if isinstance(meta, DamagedError):
            unreadable.append(meta)
        elif meta is not None:
            found.append(TempoBlock(tenant, meta))
    found.sort(key=lambda block: (block.meta.start, block.id))
    return TempoBlocks(tenant, tuple(found), compacted, tuple(unreadable))


def _metas(store: ObjectStore, tenant: str, block_ids: Sequence[str]) -> Iterator[TempoMeta | DamagedError | None]:
    """None: Tempo has compacted the block since it was listed."""

    def read(block_id: str) -> TempoMeta | DamagedError | None:
        path = f"{tenant}/{block_id}/{_META}"
        data = store.get(path)
        if data is None:
            return None
        try:
            meta = decode_tempo_meta(path, data)
        except DamagedError as err:
            return err
        return meta if meta.block_id == block_id else DamagedError(path, f"is the meta.json of block {meta.block_id}")

    with ThreadPoolExecutor(_READERS, "tempo-meta") as pool:
        yield from pool.map(read, block_ids)
