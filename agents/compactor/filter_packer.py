"""Puts filters of trace ids of many blocks into few objects, so that a process that has read none of them yet answers
a lookup in a handful of requests (`tables.blocks.filter_pack`).
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from agents.compactor.own_metrics import FILTER_PACKS
from tables.blocks.bloom import bloom_path, checked_filter, filter_ranges
from tables.blocks.filter_pack import (
    FilterKey,
    PackedFilter,
    PackRef,
    decode_head,
    filter_key,
    make_pack,
    pack_folder,
    pack_path,
    packed_filters,
)
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.catalog.changes import replace_packs
from tables.catalog.index_store import IndexStore
from tables.catalog.known_index import commit_known
from tables.catalog.place import Place
from tables.catalog.tenant_index import Rows, TenantIndex
from tables.columns.arrays import list_parents, list_values, numbers, one_array
from tables.errors import DamagedError, StorageError
from tables.storage.at_once import at_once

log = logging.getLogger(__name__)

# So many blocks of a partition may be in no pack: a lookup takes a request for each.
_LOOSE_MAX: Final = 4
# A pack is written anew with further filters until it has so many bytes. That bounds memory, and what is written again.
_PACK_BYTES: Final = 4 << 20
# A block with larger filters is not worth packing: few blocks are so large, and a lookup reads a part of them.
_BLOCK_BYTES_MAX: Final = 4 << 20
_THREADS: Final = 8


class _Packs(NamedTuple):
    """The work for one partition. replaced: packs that are written anew, or not needed. fresh: rows of the index"""

    place: Place
    replaced: list[PackRef]
    fresh: Rows


class FilterPacker:
    """Thread-safe as long as one thread uses it at a time. dry_run: nothing is written"""

    def __init__(
        self,
        blocks: BlockList,
        indexes: IndexStore,
        grace_s: float,
        clock: Callable[[], float],
        *,
        dry_run: bool = False,
    ) -> None:
        """grace_s: how long packs stay that no index names any more. clock: Unix seconds"""
        self._blocks, self._indexes, self._clock = blocks, indexes, clock
        self._grace_s, self._dry_run = grace_s, dry_run
        self._looked: dict[str, int] = {}  # the version of each tenant's index that was looked at
        self._packed: dict[str, dict[str, frozenset[FilterKey]]] = {}  # what packs have, by tenant and id

    def run(self, tenant: str) -> None:
        """Does what is due for a tenant, as of the last poll. Raises: StorageError"""
        index = self._blocks.index(tenant)
        if index is None or self._dry_run or self._looked.get(tenant) == index.version:
            return
        made: list[PackRef] = []
        replaced: list[str] = []
        for work in self._due(index):
            made += self._write(tenant, index, work)
            replaced += [pack.id for pack in work.replaced]
        self._looked[tenant] = index.version
        # A pack that comes out as it was stays: filters that cannot be read do not change it.
        same = {pack.id for pack in made}.intersection(replaced)
        made, replaced = [pack for pack in made if pack.id not in same], [name for name in replaced if name not in same]
        if not made and not replaced:
            return
        change = partial(replace_packs, made=made, replaced=replaced)
        committed = commit_known(self._blocks, self._indexes, tenant, change)
        if committed is None:
            return  # another leader was first; its packs are looked at in the next cycle
        self._looked[tenant] = committed.version
        FILTER_PACKS.inc(len(made))
        self._delete_old(tenant, committed)

    # ---- what is due

    def _due(self, index: TenantIndex) -> Iterator[_Packs]:
        held = self._held(index)
        rows = _with_filters(index)
        by_place: dict[Place, list[int]] = defaultdict(list)
        clusters = index.table["cluster_id"].take(rows).to_pylist()
        for number, (cluster, partition) in enumerate(
            zip(clusters, index.numbers("partition")[rows].tolist(), strict=True)
        ):
            by_place[cluster, partition].append(number)
        ids = index.table["block_id"].take(rows).to_pylist()
        for place in {*by_place, *(pack.place for pack in index.filter_packs)}:
            of_place = by_place.get(place, [])
            shown = {ids[number] for number in of_place}
            packs = [pack for pack in index.filter_packs if pack.place == place]
            packed = {key.block_id for pack in packs for key in held[pack.id]}
            loose = [number for number in of_place if ids[number] not in packed]
            stale = [pack for pack in packs if _is_stale(held[pack.id], shown)]
            if len(loose) < _LOOSE_MAX and not stale:
                continue
            # Small packs take up more filters.
            open_packs = [pack for pack in packs if pack in stale or pack.size_bytes < _PACK_BYTES // 2]
            yield _Packs(place, open_packs, rows[np.array(loose, np.int64)])

    def _held(self, index: TenantIndex) -> dict[str, frozenset[FilterKey]]:
        """What each pack has. Heads are read once. A pack that cannot be read has nothing: it is replaced."""
        known = self._packed.get(index.tenant, {})
        held: dict[str, frozenset[FilterKey]] = {}
        for pack in index.filter_packs:
            if pack.id not in known:
                try:
                    part = [(0, pack.head_bytes)]
                    (data,) = self._blocks.store.get_ranges(pack_path(index.tenant, pack.id), part)
                    held[pack.id] = frozenset(decode_head(index.tenant, pack, data).keys)
                except DamagedError as err:
                    log.warning("a pack of filters is made anew: %s", err)
                    held[pack.id] = frozenset()
            else:
                held[pack.id] = known[pack.id]
        self._packed[index.tenant] = held
        return held

    # ---- writing

    def _write(self, tenant: str, index: TenantIndex, work: _Packs) -> list[PackRef]:
        """Writes the filters of a partition that are in no pack that stays."""
        store = self._blocks.store
        shown = set(index.table["block_id"].to_pylist())
        made: list[PackRef] = []
        waiting: list[PackedFilter] = []

        def write(least: int) -> None:
            size = sum(len(one.data) for one in waiting)
            if waiting and size >= least:
                ref, data = make_pack(work.place, sorted(waiting))
                store.put(pack_path(tenant, ref.id), data)
                made.append(ref)
                waiting.clear()

        for pack in work.replaced:
            waiting += [one for one in self._again(tenant, pack) if one.key.block_id in shown]
            write(_PACK_BYTES)
        metas = index.metas(work.fresh)
        with ThreadPoolExecutor(_THREADS, "filters") as pool:
            for first in range(0, len(metas), _THREADS):
                some = metas[first : first + _THREADS]
                for filters in at_once(pool, [partial(self._filters, meta) for meta in some]):
                    waiting += filters
                    write(_PACK_BYTES)
        write(0)
        return made

    def _again(self, tenant: str, pack: PackRef) -> Sequence[PackedFilter]:
        data = self._blocks.store.get(pack_path(tenant, pack.id))
        try:
            return [] if data is None else packed_filters(tenant, pack, data)
        except DamagedError as err:
            log.warning("the filters of a pack are read from their blocks again: %s", err)
            return []

    def _filters(self, meta: BlockMeta) -> list[PackedFilter]:
        """The filters of a block that can be read. Others are not packed, and the block's file is read instead."""
        places = filter_ranges(meta.files)
        wanted = [number for number, file in enumerate(meta.files) if file.bloom_bytes]
        try:
            parts = self._blocks.store.get_ranges(bloom_path(meta), [places[number] for number in wanted])
            return [
                PackedFilter(filter_key(meta, number), checked_filter(meta, meta.files[number], part))
                for number, part in zip(wanted, parts, strict=True)
            ]
        except DamagedError as err:
            log.warning("the filters of block %s are in no pack: %s", meta.key, err)
            return []

    def _delete_old(self, tenant: str, index: TenantIndex) -> None:
        """Deletes packs that were replaced long ago, and what a leader left that died. A reader that still wants one
        reads the filters of blocks instead.
        """
        named = {pack_path(tenant, pack.id) for pack in index.filter_packs}
        before_s = self._clock() - self._grace_s
        objects = self._blocks.store.objects(pack_folder(tenant))
        old = [path for path, stamp in objects if path not in named and stamp.modified_s < before_s]
        try:
            if old:
                self._blocks.store.delete(old)
        except StorageError as err:
            log.warning("old packs of filters stay until the next one is written: %s", err)


def _with_filters(index: TenantIndex) -> Rows:
    """The rows of blocks with an object `bloom` that is worth packing."""
    if not len(index):
        return np.zeros(0, np.int64)
    files = one_array(index.table["files"])
    sizes = np.bincount(list_parents(files), numbers(list_values(files).field("bloom_bytes")), len(index))
    return np.flatnonzero((sizes > 0) & (sizes <= _BLOCK_BYTES_MAX))


def _is_stale(keys: Iterable[FilterKey], shown: set[str]) -> bool:
    """Whether less than half of a pack's filters are of blocks that are shown."""
    alive = [key.block_id in shown for key in keys]
    return 2 * sum(alive) < len(alive) or not alive
