"""Makes a tenant's index anew from what is there: the metas of its blocks, the cuts, and the checkpoints."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tables.blocks.meta import BlockMeta, decode_meta
from tables.catalog.checkpoints import Checkpoint, Checkpoints
from tables.catalog.cuts import Cut
from tables.catalog.index_store import IndexStore
from tables.catalog.place import Place, split_path
from tables.catalog.tenant_index import Removed, TenantIndex, index_path, rows_of
from tables.errors import DamagedError, StorageError
from tables.redaction.rules import Redaction
from tables.storage.object_store import ObjectStore

_META: Final = "meta.json"


@dataclass(slots=True)
class Rebuilt:
    """An index that was made anew, and what was decided on the way. left_out: blocks with the reason"""

    index: TenantIndex
    left_out: dict[str, str] = field(default_factory=dict)


class CutRanges:
    """What the cuts that are there say of blocks. In: readable cuts by place and first offset; paths of damaged ones"""

    def __init__(self, found: Mapping[Place, Mapping[int, Cut]], damaged: Iterable[str]) -> None:
        self.names = {key.rpartition("/")[2] for cuts in found.values() for cut in cuts.values() for key in cut.blocks}
        firsts: dict[Place, dict[int, Cut | None]] = {place: dict(cuts) for place, cuts in found.items()}
        for path in damaged:
            if (named := split_path(path)) is not None:
                firsts.setdefault(named[0], {})[named[1]] = None
        self._ends = {
            (place, key): cut.last_offset + 1
            for place, cuts in found.items()
            for cut in cuts.values()
            for key in cut.blocks
        }
        self._starts = {place: min(cuts) for place, cuts in firsts.items()}
        self._gaps = {place: _gaps(cuts) for place, cuts in firsts.items()}

    def end_of(self, place: Place, key: str) -> int | None:
        """The end of the cut that names a block; None: none does."""
        return self._ends.get((place, key))

    def may_be_unnamed(self, meta: BlockMeta) -> bool:
        """Whether a flushed block may count although no cut names it: its cut is deleted, or damaged. Elsewhere its cut
        lost against another one, or is not written yet.
        """
        place = (meta.cluster_id, meta.partition)
        start = self._starts.get(place)
        if start is None or meta.last_offset < start:
            return True
        return any(first <= meta.first_offset and meta.last_offset < end for first, end in self._gaps[place])


def _gaps(cuts: Mapping[int, Cut | None]) -> list[tuple[float, float]]:
    """(first, end) of the offsets that no readable cut covers, between and behind damaged or missing ones."""
    gaps: list[tuple[float, float]] = []
    end: float | None = None
    for first in sorted(cuts):
        cut = cuts[first]
        if end is not None and first > end:
            gaps.append((end, first))
        end = first if cut is None else cut.last_offset + 1
    if cuts and end is not None and cuts[max(cuts)] is None:
        gaps.append((end, float("inf")))
    return gaps


def rebuild_index(store: ObjectStore, tenant: str, cuts: CutRanges, redactions: Iterable[Redaction] = ()) -> Rebuilt:
    """The index that follows from the objects; nothing is written. It never has a span twice.

    cuts: blocks that they name stay with them where no checkpoint lies above. Raises: StorageError
    """
    versions = IndexStore(store).listed(tenant).get(tenant, {})
    before = _last_readable(store, tenant, versions)
    checkpoints = _checkpoints(store)
    candidates, left_out = _complete(store, tenant)
    gone = {one.block_id for one in before.removed}
    for block_id in gone & candidates.keys():
        del candidates[block_id]
        left_out[block_id] = "an earlier version of the index has removed it"
    chosen = list(_visible(candidates, cuts, left_out))
    covered = _covered(tenant, chosen, checkpoints, cuts, before)
    rows = [meta for meta in chosen if meta.first_offset < covered.get((meta.cluster_id, meta.partition), 0)]
    in_force = {one.id: one for one in [*before.redactions, *redactions]}
    index = TenantIndex(
        tenant=tenant,
        version=max(versions, default=0) + 1,
        table=rows_of(sorted(rows, key=lambda meta: (meta.cluster_id, meta.partition, meta.first_offset))),
        covered=covered,
        removed=tuple(Removed(one.block_id, one.removed_s) for one in before.removed),
        redactions=tuple(in_force.values()),
    )
    return Rebuilt(index, left_out)


def write_index(store: ObjectStore, index: TenantIndex) -> None:
    """Raises: StorageError, also if another writer was first"""
    path = index_path(index.tenant, index.version)
    if not store.create(path, index.encode()):
        raise StorageError(f"{path} exists by now: another writer has changed the index; check again")


def _last_readable(store: ObjectStore, tenant: str, versions: Iterable[int]) -> TenantIndex:
    """The newest version that can be read, for what nothing else says; an empty one if there is none."""
    indexes = IndexStore(store)
    for version in sorted(versions, reverse=True):
        try:
            found = indexes.read(tenant, version)
        except DamagedError:
            continue
        if found is not None:
            return found
    return TenantIndex(tenant)


def _checkpoints(store: ObjectStore) -> dict[Place, Checkpoint]:
    """The newest readable checkpoint of each place."""
    checkpoints = Checkpoints(store)
    found = {}
    for place, offsets in checkpoints.listed().items():
        try:
            newest = checkpoints.newest_of(place, offsets)
        except DamagedError:
            continue
        if newest is not None:
            found[place] = newest
    return found


def _complete(store: ObjectStore, tenant: str) -> tuple[dict[str, BlockMeta], dict[str, str]]:
    """The blocks of which all objects are there, and why others are not complete."""
    folders: dict[str, dict[str, int]] = {}
    for path, stamp in store.objects(f"blocks/{tenant}"):
        block_id, _, name = path.split("/", 2)[2].partition("/")
        folders.setdefault(block_id, {})[name] = stamp.size_bytes
    found, left_out = {}, {}
    for block_id, objects in folders.items():
        path = f"blocks/{tenant}/{block_id}/{_META}"
        try:
            data = store.get(path) if _META in objects else None
            if data is None:
                left_out[block_id] = "it has no meta.json"
                continue
            meta = decode_meta(path, data)
        except DamagedError as err:
            left_out[block_id] = f"its meta.json {err.problem}"
            continue
        if any(objects.get(file.name) != file.size_bytes for file in meta.files):
            left_out[block_id] = "a file of it is missing or has another size"
            continue
        found[block_id] = meta
    return found, left_out


def _visible(candidates: Mapping[str, BlockMeta], cuts: CutRanges, left_out: dict[str, str]) -> Iterator[BlockMeta]:
    """Blocks of which no two have the same spans. What replaces others comes before them."""
    named = cuts.names
    inputs = {block_id: _inputs(candidates, block_id) for block_id in candidates}
    taken: set[str] = set()
    flushed: dict[Place, list[tuple[int, int]]] = {}

    def order(meta: BlockMeta) -> tuple[int, int, bool, str]:
        return -len(inputs[meta.block_id]), -meta.level, meta.block_id not in named, meta.block_id

    for meta in sorted(candidates.values(), key=order):
        block_id = meta.block_id
        if block_id in taken:
            left_out[block_id] = "another block replaces it"
            continue
        if inputs[block_id] & taken:
            left_out[block_id] = "it replaces blocks that another one replaces, too"
            continue
        if not meta.replaces and block_id not in named and not cuts.may_be_unnamed(meta):
            left_out[block_id] = "no cut names it"
            continue
        if not meta.replaces:
            place, ranges = (meta.cluster_id, meta.partition), flushed.setdefault((meta.cluster_id, meta.partition), [])
            replaced = any(first <= meta.last_offset and meta.first_offset <= last for first, last in ranges)
            if replaced and block_id not in named:
                left_out[block_id] = f"another block of partition {place[1]} has some of its offsets"
                continue
            ranges.append((meta.first_offset, meta.last_offset))
        taken |= {block_id, *inputs[block_id]}
        yield meta


def _inputs(candidates: Mapping[str, BlockMeta], block_id: str) -> set[str]:
    """All blocks that a block replaces, and that these have replaced."""
    found: set[str] = set()
    left = list(candidates[block_id].replaces)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += candidates[name].replaces if name in candidates else []
    return found


def _covered(
    tenant: str,
    chosen: Sequence[BlockMeta],
    checkpoints: Mapping[Place, Checkpoint],
    cuts: CutRanges,
    before: TenantIndex,
) -> dict[Place, int]:
    """Up to where the index accounts for cuts: at least to the checkpoints, and to the end of what no cut names."""
    covered = {
        place: checkpoint.tenants[tenant] for place, checkpoint in checkpoints.items() if tenant in checkpoint.tenants
    }
    for place, end in before.covered.items():
        covered[place] = max(end, covered.get(place, 0))
    for meta in chosen:
        if meta.block_id not in cuts.names:
            place = (meta.cluster_id, meta.partition)
            covered[place] = max(meta.last_offset + 1, covered.get(place, 0))
    return covered
