"""Which blocks of Tempo a tenant has already: each exactly once, whatever is killed when.

    imports/tempo/<tenant>/<Tempo's block id>.json     written after the block became visible; never replaced

The version of the tenant's index that shows the block also says so itself, with a marker among the places that it
covers. A marker goes when the object is there, with the next import or `tidy`. So at every moment one of the two tells
it, even after the block was compacted, or deleted by retention.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from tables.blocks.meta import BlockMeta
from tables.catalog.index_store import IndexStore
from tables.catalog.place import Place
from tables.catalog.tenant_index import TenantIndex, rows_of
from tables.errors import DamagedError
from tables.storage.checksum import with_checksum
from tables.storage.object_store import ObjectStore
from tables.tempo.bucket import TempoBlock
from tables.tempo.convert import CLUSTER_ID, block_range
from tables.tempo.limits import TimeLimits

_READERS: Final = 16


class Imported(BaseModel):
    """What the object says of a block.

    since_ns, until_ns: the limits within which its spans were imported; both 0: all of them
    block_id: the block that it became, unless no span was within the limits
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    tempo_tenant: str
    tempo_block_id: str
    start_ms: int
    end_ms: int
    since_ns: int
    until_ns: int
    block_id: str


class Known(NamedTuple):
    """Ids of Tempo's blocks that a tenant has. marked: those of which only a marker says so, as an import was killed"""

    entries: frozenset[str]
    marked: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        """The ids of all blocks that are imported or are being imported."""
        return self.entries | self.marked


@dataclass(slots=True)
class Ledger:
    """The blocks that a tenant has, and the way to add one."""

    store: ObjectStore
    tenant: str
    _index: TenantIndex | None = None  # the newest version that was read: it need not be read again

    def known(self) -> "Known":
        """The blocks that the tenant has. Raises: StorageError"""
        paths = self.store.paths(f"imports/tempo/{self.tenant}")
        entries = frozenset(path.rpartition("/")[2].removesuffix(".json") for path in paths)
        self._index = IndexStore(self.store).latest(self.tenant, self._index)
        marked = () if self._index is None else filter(None, map(_marked, self._index.covered))
        return Known(entries, frozenset(marked) - entries)

    def read(self, block_ids: Iterable[str]) -> list[Imported]:
        """What is known of imported blocks. Raises: DamagedError, StorageError"""
        with ThreadPoolExecutor(_READERS, "tempo-ledger") as pool:
            return [found for found in pool.map(self._read, block_ids) if found is not None]

    def _read(self, block_id: str) -> Imported | None:
        path = self._path(block_id)
        data = self.store.get(path)
        try:
            return None if data is None else Imported.model_validate_json(data)
        except ValidationError as err:
            raise DamagedError(path, "is not what an import writes there; delete it to import the block again") from err

    def add(self, block: TempoBlock, meta: BlockMeta | None, limits: TimeLimits) -> bool:
        """Makes the block visible. meta: None if nothing of it is to be. False: somebody else was first.

        Raises: StorageError
        """
        added = True if meta is None else self._show(block, meta)
        return self.note(block, limits) and added

    def note(self, block: TempoBlock, limits: TimeLimits) -> bool:
        """Writes the object that says that the block is imported. False: it is there. Raises: StorageError"""
        held = limits.hold(block.meta)
        entry = Imported(
            tempo_tenant=block.tenant,
            tempo_block_id=block.id,
            start_ms=block.meta.start_ms,
            end_ms=block.meta.end_ms,
            since_ns=0 if held else limits.since_ns,
            until_ns=0 if held else limits.until_ns,
            block_id=block_range(block, self.tenant).id,
        )
        return self.store.create(self._path(block.id), with_checksum(entry.model_dump_json().encode()))

    def tidy(self) -> None:
        """Removes the markers of blocks that have their objects. Raises: StorageError"""

        def change(index: TenantIndex) -> TenantIndex:
            kept = {place: end for place, end in index.covered.items() if not self._is_done(place)}
            return index if len(kept) == len(index.covered) else replace(index, covered=kept)

        self._commit(change)

    def _show(self, block: TempoBlock, meta: BlockMeta) -> bool:
        added = False

        def change(index: TenantIndex) -> TenantIndex:
            nonlocal added
            # In this order: a marker goes only after the object is there.
            added = not (_marker(block.id) in index.covered or self._has(block.id) or index.names(meta.block_id))
            if not added:
                return index
            kept = {place: end for place, end in index.covered.items() if not self._is_done(place)}
            table = pa.concat_tables([index.table, rows_of([meta])])
            return replace(index, table=table, covered={**kept, _marker(block.id): 1})

        self._commit(change)
        return added

    def _commit(self, change: Callable[[TenantIndex], TenantIndex]) -> None:
        self._index = IndexStore(self.store).commit(self.tenant, change, self._index)

    def _is_done(self, place: Place) -> bool:
        block_id = _marked(place)
        return bool(block_id) and self._has(block_id)

    def _has(self, block_id: str) -> bool:
        return self.store.stamp(self._path(block_id)) is not None

    def _path(self, block_id: str) -> str:
        return f"imports/tempo/{self.tenant}/{block_id}.json"


_MARK: Final = f"{CLUSTER_ID}:"


def _marker(block_id: str) -> Place:
    return (f"{_MARK}{block_id}", 0)


def _marked(place: Place) -> str:
    """The block that a marker stands for; "" for a place of Kafka."""
    return place[0].removeprefix(_MARK) if place[0].startswith(_MARK) else ""
