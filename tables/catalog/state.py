"""What a process knows of the catalogue: chains of cuts, the metas of their blocks, and the tenants' indexes.

No storage, no clock, no lock: `BlockList` reads, and guards it.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import pyarrow as pa

from tables.blocks.meta import BlockMeta
from tables.catalog.chain import Chain, chain
from tables.catalog.checkpoints import Checkpoint
from tables.catalog.cuts import Cut, Entries
from tables.catalog.place import Place, place_name
from tables.catalog.tenant_index import TenantIndex

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlaceRead:
    """What a poll has read of a partition.

    entries: cuts by first offset, or the problem with one. start, tenants: of its checkpoint; start None: as known
    problem: why its checkpoints cannot be read
    """

    entries: Entries
    start: int | None = None
    tenants: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""


@dataclass(slots=True)
class CatalogRead:
    """What a poll has read.

    metas: of blocks that cuts name. unread: blocks that cuts name and whose metas cannot be read, with the problem
    damaged_indexes: by tenant, the problem with the newest version
    """

    places: dict[Place, PlaceRead] = field(default_factory=dict)
    metas: list[BlockMeta] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    indexes: list[TenantIndex] = field(default_factory=list)
    damaged_indexes: dict[str, str] = field(default_factory=dict)


class Uncovered(NamedTuple):
    """The blocks of cuts that a tenant's index does not cover: what `changes.add_blocks` takes.

    covered: the offsets that the index covers with them, by place. since: those that it covers without them
    """

    metas: list[BlockMeta]
    covered: dict[Place, int]
    since: dict[Place, int]


class CatalogState:
    """Chains by place, indexes by tenant, metas by tenant and block id."""

    def __init__(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.chains: dict[Place, Chain] = {}
        self.indexes: dict[str, TenantIndex] = {}
        self.damaged_indexes: dict[str, str] = {}
        self.metas: dict[str, dict[str, BlockMeta]] = defaultdict(dict)  # of blocks that known cuts name
        self.unread: dict[str, tuple[Place, int, str]] = {}  # by key: whose metas are missing, first offset, problem
        self.gap_metas: dict[str, BlockMeta] = {}  # by key
        self.checkpoint_problems: dict[Place, str] = {}
        self._covered_max: dict[Place, int] = {}

    def copy(self) -> "CatalogState":
        """What is known now; it stays so while this state changes."""
        made = CatalogState(self.cluster_id)
        made.chains, made.indexes, made.unread = dict(self.chains), dict(self.indexes), dict(self.unread)
        made.checkpoint_problems, made._covered_max = dict(self.checkpoint_problems), dict(self._covered_max)
        return made

    # ---- changes

    def take(self, read: CatalogRead) -> None:
        """Takes over what a poll has read, all at once."""
        for index in read.indexes:
            self.take_index(index)
        self.damaged_indexes = {**read.damaged_indexes}
        for meta in read.metas:
            self.metas[meta.tenant][meta.block_id] = meta
        for place, of_place in read.places.items():
            self._take_place(place, of_place, read.unread)
        for key in [key for key in self.unread if self.meta_of_cut(key) is not None]:
            del self.unread[key]
        for key in self.unread.keys() & read.unread.keys():
            self.unread[key] = (*self.unread[key][:2], read.unread[key])
        self._forget_covered()

    def take_index(self, index: TenantIndex) -> None:
        """Takes over a version of an index. An older one than the known one is ignored."""
        held = self.indexes.get(index.tenant)
        if held is not None and held.version >= index.version:
            return
        self.indexes[index.tenant] = index
        for place, end in index.covered.items():
            self._covered_max[place] = max(end, self._covered_max.get(place, 0))

    def _take_place(self, place: Place, read: PlaceRead, unread: Mapping[str, str]) -> None:
        held = self.chains.get(place)
        entries = {**read.entries, **({} if held is None else held.cuts)}
        if held is not None and read.start is None:
            found = chain(entries, held.start, held.tenants, self.covered_max(place))
        else:
            found = chain(entries, read.start, read.tenants, self.covered_max(place))
        if read.problem:
            self.checkpoint_problems[place] = read.problem
        elif read.start is not None:
            self.checkpoint_problems.pop(place, None)
        if found is None:
            return
        if (problem := found.problem()) and (held is None or held.problem() != problem):
            log.error("partition %d of Kafka cluster %s: %s", place[1], place[0], problem)
        self.chains[place] = found
        self._drop(cut for first, cut in entries.items() if isinstance(cut, Cut) and first not in found.cuts)
        for cut in found.cuts.values() if unread else ():
            for key in cut.blocks:
                if key in unread:
                    self.unread[key] = (place, cut.first_offset, unread[key])

    def add(self, cluster_id: str, cut: Cut, metas: Iterable[BlockMeta]) -> None:
        """Adds a cut that this process has written."""
        for meta in metas:
            self.metas[meta.tenant][meta.block_id] = meta
        place = (cluster_id, cut.partition)
        held = self.chains.get(place) or Chain(cut.first_offset, cut.first_offset)
        entries: Entries = {**held.problems, **held.cuts, cut.first_offset: cut}
        found = chain(entries, held.start, held.tenants, self.covered_max(place))
        self.chains[place] = held if found is None else found

    def _forget_covered(self) -> None:
        """Forgets the cuts whose blocks are all in indexes: known cuts stay few, however many there were."""
        for place, of_place in self.chains.items():
            covered = list(of_place.covered_cuts(partial(self._covers, place)))
            of_place.without(covered)
            self._drop(covered)

    def _drop(self, cuts: Iterable[Cut]) -> None:
        for key in (key for cut in cuts for key in cut.blocks):
            tenant, _, block_id = key.rpartition("/")
            self.metas[tenant].pop(block_id, None)
            self.unread.pop(key, None)
            if not self.metas[tenant]:
                del self.metas[tenant]

    # ---- what is known

    def _covers(self, place: Place, tenant: str, end: int) -> bool:
        return self.covered(tenant, place) >= end

    def covered(self, tenant: str, place: Place) -> int:
        """The offset up to which the tenant's index covers a partition."""
        index = self.indexes.get(tenant)
        return 0 if index is None else index.covered.get(place, 0)

    def covered_max(self, place: Place) -> int:
        """The greatest offset up to which any tenant's index covers a partition: a cut ended there."""
        return self._covered_max.get(place, 0)

    def meta_of_cut(self, key: str) -> BlockMeta | None:
        """The meta of a block that a known cut names."""
        tenant, _, block_id = key.rpartition("/")
        return self.metas.get(tenant, {}).get(block_id)

    def cut_blocks(self, tenant: str) -> list[BlockMeta]:
        """The tenant's visible blocks that are not in its index yet."""
        found = [meta for meta in self.metas.get(tenant, {}).values() if self._is_above(meta)]
        in_gaps = [meta for meta in self.gap_metas.values() if meta.tenant == tenant and self._is_in_gap(meta)]
        return found + [meta for meta in in_gaps if self._is_above(meta)]

    def _is_above(self, meta: BlockMeta) -> bool:
        return meta.first_offset >= self.covered(meta.tenant, meta.place)

    def _is_in_gap(self, meta: BlockMeta) -> bool:
        ranges = self.gaps(meta.place)
        return any(first <= meta.first_offset and meta.last_offset < end for first, end in ranges)

    def gaps(self, place: Place) -> list[tuple[int, int]]:
        """(first, end) of offsets of the partition whose cuts cannot be read. Nobody reads the offsets of a former
        cluster from Kafka again, so there it is also what follows the last cut.
        """
        held = self.chains.get(place)
        return [] if held is None else held.unnamed(end_too=place[0] != self.cluster_id)

    def known_keys(self) -> set[str]:
        """The blocks that cuts or indexes name, and those that indexes have removed."""
        keys = {key for found in self.chains.values() for key in found.blocks}
        for tenant, index in self.indexes.items():
            keys.update(f"{tenant}/{block_id}" for block_id in index.table["block_id"].to_pylist())
            keys.update(f"{tenant}/{one.block_id}" for one in index.removed)
        return keys

    def find(self, tenant: str, block_id: str) -> BlockMeta | None:
        """The meta of a block, or None if the block is not visible."""
        held = self.metas.get(tenant, {}).get(block_id) or self.gap_metas.get(f"{tenant}/{block_id}")
        if held is not None and self._is_above(held):
            return held
        index = self.indexes.get(tenant)
        return None if index is None else index.meta_of(block_id)

    def is_visible(self, tenant: str, block_id: str) -> bool:
        """Whether readers need the block: also if its meta cannot be read."""
        unread = self.unread.get(f"{tenant}/{block_id}")
        if unread is not None and unread[1] >= self.covered(tenant, unread[0]):
            return True
        return self.find(tenant, block_id) is not None

    def visible(self, tenant: str, block_ids: Sequence[str]) -> set[str]:
        """Those of the blocks that are visible."""
        index, metas = self.indexes.get(tenant), self.metas.get(tenant, {})
        of_cuts = {name for name in block_ids if name in metas and self._is_above(metas[name])}
        if index is None:
            return of_cuts
        return of_cuts.union(index.table["block_id"].take(pa.array(index.rows_with(block_ids))).to_pylist())

    def tenants(self) -> set[str]:
        """All tenants with blocks, or that had some."""
        of_chains = {tenant for found in self.chains.values() for tenant in found.tenants}
        return {*self.indexes, *self.metas, *of_chains, *(key.rpartition("/")[0] for key in self.unread)}

    def problems_of(self, tenant: str) -> Iterator[tuple[Place, str]]:
        """Why the tenant's blocks may not all be known, by place."""
        damage = self.damaged_indexes.get(tenant)
        for place, found in self.chains.items():
            covered = self.covered(tenant, place)
            if problem := found.problem(covered):
                yield place, problem
            if found.tenants.get(tenant, 0) > covered and found.start > covered:
                yield place, damage or f"index/{tenant} is missing, or older than checkpoints/{place_name(place)}"
            elif place in self.checkpoint_problems and found.start > covered:
                yield place, self.checkpoint_problems[place]

    def uncovered(self, tenant: str) -> Uncovered:
        """What the tenant's index does not cover yet, up to the first cut or block whose content is not known."""
        limits = self._limits(tenant)
        since = {place: self.covered(tenant, place) for place in limits}
        metas = [
            meta for meta in self.cut_blocks(tenant) if meta.place in limits and meta.last_offset < limits[meta.place]
        ]
        covered = {place: end for place, end in limits.items() if end > since[place]}
        return Uncovered(sorted(metas, key=lambda meta: (meta.place, meta.first_offset)), covered, since)

    def _limits(self, tenant: str) -> dict[Place, int]:
        limits = {place: found.sure_end(self.covered(tenant, place)) for place, found in self.chains.items()}
        for key, (place, first, _) in self.unread.items():
            if key.rpartition("/")[0] == tenant and place in limits:
                limits[place] = min(limits[place], first)
        for place, _ in self.problems_of(tenant):
            found = self.chains[place]
            if found.start > self.covered(tenant, place):
                limits.pop(place, None)  # what lies between is not known
        return limits

    def checkpoint(self, place: Place) -> Checkpoint | None:
        """The checkpoint that may be written now; None if nothing is known of the place."""
        held = self.chains.get(place)
        return None if held is None else Checkpoint(place, held.start, dict(held.tenants))
