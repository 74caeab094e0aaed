"""What a poll reads: new cuts, new versions of indexes, and, at the start, checkpoints.

With nothing new a poll takes 2 requests and one for each partition: it lists the cuts of each partition from the last
known one on, lists the versions of all indexes, and looks at one thing of former clusters, a different one each time.
Without a cluster of its own (a command beside the processes) it looks at all cuts with each poll.
Cuts are read before indexes: so an index is at least as new as every checkpoint that was seen, and no block that a cut
names is missing in the state that follows.
"""

import logging
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Final

from tables.blocks.meta import BlockMeta, decode_meta
from tables.catalog.chain import chain
from tables.catalog.checkpoints import Checkpoint, Checkpoints
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.index_store import FoundIndex, IndexStore, Versions
from tables.catalog.place import Place
from tables.catalog.state import CatalogRead, CatalogState, PlaceRead
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError, StorageError
from tables.storage.object_store import ObjectStore
from tables.storage.read_many import read_many

log = logging.getLogger(__name__)

_LISTINGS_MAX: Final = 5
# So many metas that could not be read are tried again with each poll.
_UNREAD_AGAIN_MAX: Final = 64
# A listing of all blocks is dear in a large bucket; it is made only while cuts are missing.
_GAP_LISTING_S: Final = 600.0

Gaps = dict[Place, list[tuple[int, int]]]


class CatalogReader:
    """Reads for one `CatalogState`. One thread at a time."""

    def __init__(self, store: ObjectStore, cluster_id: str) -> None:
        self._store, self._cluster_id = store, cluster_id
        self._cuts, self._checkpoints, self._indexes = Cuts(store, cluster_id), Checkpoints(store), IndexStore(store)
        self._former: dict[str, list[Place]] | None = None  # partitions of former clusters; None: not known yet
        self._turn = 0
        self._seen: set[Place] = set()  # partitions whose checkpoints were looked for
        self._gaps: Gaps = {}
        self._gaps_listed_s = 0.0

    def read(self, state: CatalogState, partitions: Iterable[int]) -> CatalogRead:
        """What is new. partitions: of this cluster.

        Raises: StorageError if the storage is away; never for a single object
        """
        is_first = self._former is None
        try:
            places = {(self._cluster_id, partition) for partition in partitions} | self._former_places()
            found = CatalogRead(self._fresh((places - self._seen) | (places & state.checkpoint_problems.keys())))
            self._read_cuts(state, found, places)
            self._read_indexes(state, found)
            self._read_cuts_again(state, found)
            self._read_metas(state, found)
        except StorageError:
            if is_first:
                self._former = None
            raise
        self._seen |= places
        return found

    # ---- former clusters

    def _former_places(self) -> set[Place]:
        """The partitions of former clusters to look at: first all of them, then one after the other.

        Always all of them without a cluster of our own: then a cluster is not former because it is another one, and its
        processes may write cuts at any moment.
        """
        if self._former is None or not self._cluster_id:
            self._former = {name: self._cuts.partitions(name) for name in self._former_clusters()}
            return {place for of_cluster in self._former.values() for place in of_cluster}
        turns: list[str | Place | None] = [
            None,
            *self._former,
            *(p for places in self._former.values() for p in places),
        ]
        turn = turns[self._turn % len(turns)]
        self._turn = self._turn % len(turns) + 1
        if turn is None:
            self._former = {name: self._former.get(name, []) for name in self._former_clusters()}
            return set()
        if isinstance(turn, str):
            self._former[turn] = self._cuts.partitions(turn)
            return set()
        return {turn}

    def _former_clusters(self) -> list[str]:
        return [name for name in self._cuts.clusters() if name != self._cluster_id]

    # ---- cuts and checkpoints

    def _fresh(self, places: set[Place]) -> dict[Place, PlaceRead]:
        """Where the chains of partitions begin that were not read before."""
        if not places:
            return {}
        only = next(iter(places)) if len(places) == 1 else None
        listed = self._checkpoints.listed(only)
        wanted = [place for place in places if place in listed]
        newest = read_many(lambda place: self._checkpoints.newest_of(place, listed[place]), wanted)
        found = {place: PlaceRead({}) for place in places}
        for place, checkpoint in newest.items():
            if isinstance(checkpoint, Checkpoint):
                found[place] = PlaceRead({}, checkpoint.offset, checkpoint.tenants)
            elif checkpoint is not None:
                log.error("%s", checkpoint)
                found[place] = PlaceRead({}, problem=str(checkpoint))
        return found

    def _read_cuts(self, state: CatalogState, found: CatalogRead, places: Iterable[Place]) -> None:
        """The cuts of places. Where some are missing, they may have been deleted after a newer checkpoint."""
        wanted = {}
        for place in places:
            held = state.chains.get(place)
            start = found.places[place].start if place in found.places else None
            wanted[place] = held.list_from if held is not None else start or 0
        read = self._cuts.read(wanted, {place: held.cuts for place, held in state.chains.items()})
        for place, entries in read.items():
            known = found.places.get(place, PlaceRead({}))
            found.places[place] = replace(known, entries=entries)
            if place in self._seen and self._has_gaps(state, found, place):
                again = self._fresh({place})[place]
                if again.start is not None and again.start > wanted[place]:
                    found.places[place] = replace(again, entries=entries)

    def _has_gaps(self, state: CatalogState, found: CatalogRead, place: Place) -> bool:
        held, read = state.chains.get(place), found.places[place]
        if held is None:
            return min(read.entries, default=0) > 0
        if not held.problems and (not read.entries or held.end in read.entries):
            return False  # the usual cases: nothing is new, or the next cut follows
        made = chain({**read.entries, **held.cuts}, held.start, held.tenants)
        return made is not None and bool(made.gaps)

    # ---- indexes

    def _read_indexes(self, state: CatalogState, found: CatalogRead) -> None:
        held = {tenant: index.version for tenant, index in list(state.indexes.items())}
        for _ in range(_LISTINGS_MAX):
            listed = self._indexes.listed()
            for tenant, version in held.items():
                if max(listed.get(tenant, {}), default=0) < version:
                    # This process still has it, but the next one will not find it.
                    text = f"index/{tenant} has lost version {version}; was it deleted?"
                    found.damaged_indexes[tenant] = text
            known = dict(held)
            known |= {index.tenant: index.version for index in found.indexes}
            fresh = [tenant for tenant, versions in listed.items() if max(versions) > known.get(tenant, 0)]
            fresh = [tenant for tenant in fresh if tenant not in found.damaged_indexes]
            if not self._take_versions(found, listed, known, fresh, state.indexes):
                return
        raise StorageError("the versions of indexes change faster than they can be read")

    def _take_versions(
        self,
        found: CatalogRead,
        listed: Mapping[str, Versions],
        known: Mapping[str, int],
        fresh: list[str],
        held: Mapping[str, TenantIndex],
    ) -> bool:
        """Whether to list again: a version has vanished, because it was replaced and deleted since."""
        again = False
        read = read_many(lambda t: self._indexes.newest_of(t, listed[t], known.get(t, 0), held.get(t)), fresh)
        for tenant, newest in read.items():
            if isinstance(newest, FoundIndex):
                found.indexes.append(newest.index)
                if newest.damage is not None:
                    found.damaged_indexes[tenant] = str(newest.damage)
            elif newest is None:
                again = True
            else:
                found.damaged_indexes[tenant] = str(newest)
        return again

    # ---- what indexes say about cuts

    def _read_cuts_again(self, state: CatalogState, found: CatalogRead) -> None:
        """Reads cuts that were written between the listings of cuts and of indexes, and old cuts that an old version of
        an index needs.
        """
        ends: dict[Place, int] = {}
        for index in found.indexes:
            for place, end in index.covered.items():
                ends[place] = max(end, ends.get(place, 0))
        wanted: dict[Place, int] = {}
        for place, read in found.places.items():
            held = state.chains.get(place)
            entries = {**read.entries, **({} if held is None else held.cuts)}
            made = chain(entries, held.start if held is not None and read.start is None else read.start)
            if self._is_short(state, found, place):
                wanted[place] = 0
                found.places[place] = replace(read, start=None)
            elif made is not None and made.end < ends.get(place, 0):
                wanted[place] = made.list_from
        if not wanted:
            return
        known = {
            place: {first: cut for first, cut in found.places[place].entries.items() if isinstance(cut, Cut)}
            for place in wanted
        }
        for place, entries in self._cuts.read(wanted, known).items():
            found.places[place].entries.update(entries)

    def _is_short(self, state: CatalogState, found: CatalogRead, place: Place) -> bool:
        """Whether the index of a tenant covers less than the checkpoint of the place says."""
        covered = {tenant: index.covered.get(place, 0) for tenant, index in state.indexes.items()}
        covered |= {index.tenant: index.covered.get(place, 0) for index in found.indexes}
        read = found.places[place]
        return read.start is not None and any(end > covered.get(tenant, 0) for tenant, end in read.tenants.items())

    # ---- metas

    def wants_gap_metas(self, gaps: Gaps) -> bool:
        """Whether it is time to look for blocks that missing cuts may name. gaps: (first, end) of offsets, by place"""
        if gaps == self._gaps and (not gaps or time.monotonic() - self._gaps_listed_s < _GAP_LISTING_S):
            return False
        self._gaps = gaps
        return True

    def gap_metas(self, gaps: Gaps, known: Container[str]) -> list[BlockMeta]:
        """Blocks that missing cuts may name. known: the keys of blocks that something else names

        Lists the whole bucket, if there are gaps. Raises: StorageError
        """
        if not gaps:
            return []
        self._gaps_listed_s = -_GAP_LISTING_S  # until it has gone well
        paths = self._store.paths("blocks")
        keys = [
            path.removeprefix("blocks/").removesuffix("/meta.json") for path in paths if path.endswith("/meta.json")
        ]
        read = read_many(self._meta, [key for key in keys if key.count("/") == 1 and key not in known])
        self._gaps_listed_s = time.monotonic()
        return [meta for meta in read.values() if isinstance(meta, BlockMeta) and meta.place in gaps]

    def _read_metas(self, state: CatalogState, found: CatalogRead) -> None:
        covered = {**state.indexes, **{index.tenant: index for index in found.indexes}}
        wanted: list[str] = []
        for place, read in found.places.items():
            known = state.chains[place].cuts if place in state.chains else {}
            for first, cut in read.entries.items():
                if isinstance(cut, str) or first in known or (read.start is not None and first < read.start):
                    continue
                inline = {meta.key: meta for meta in cut.metas}
                for key in cut.blocks:
                    if _covered(covered, key, place) >= cut.end:
                        continue
                    if key in inline:
                        found.metas.append(inline[key])
                    else:
                        wanted.append(key)
                read.entries[first] = replace(cut, metas=())
        wanted += [key for key in list(state.unread)[:_UNREAD_AGAIN_MAX] if key not in wanted]
        for key, meta in read_many(self._meta, wanted).items():
            if isinstance(meta, BlockMeta):
                found.metas.append(meta)
            elif isinstance(meta, DamagedError):
                found.unread[key] = f"its meta.json {meta.problem}"
            else:
                found.unread[key] = f"its meta.json cannot be read now: {meta}"

    def _meta(self, key: str) -> BlockMeta:
        path = f"blocks/{key}/meta.json"
        data = self._store.get(path)
        if data is None:
            raise DamagedError(path, "is missing")
        return decode_meta(path, data)


def _covered(indexes: Mapping[str, TenantIndex], key: str, place: Place) -> int:
    index = indexes.get(key.rpartition("/")[0])
    return 0 if index is None else index.covered.get(place, 0)
