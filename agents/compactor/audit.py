"""Compares all objects of blocks with what indexes and cuts name, once a day.

Objects that belong to nothing are left where a process died: the output of a merge, a block whose cut another writer
was faster to write. They are deleted when they are old. Objects that are named and missing are damage.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agents.compactor.delete_block import delete_block
from agents.compactor.own_metrics import ERRORS, MISSING, ORPHANS
from agents.compactor.tenant_blocks import TenantBlocks, tenant_blocks
from tables.blocks.meta import BlockMeta, decode_meta
from tables.catalog.block_list import BlockList
from tables.errors import DamagedError, StorageError
from tables.storage.object_store import Stamp

log = logging.getLogger(__name__)

_META: Final = "meta.json"
_LOGGED_MAX: Final = 20
# Blocks that are objects at a time.
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Folder:
    """The objects of one block, by name."""

    tenant: str
    block_id: str
    objects: dict[str, Stamp]

    @property
    def newest_s(self) -> float:
        return max(stamp.modified_s for stamp in self.objects.values())


class Audit:
    """Thread-safe as long as one thread uses it at a time.

    dry_run: nothing is deleted, and the log says what would be
    """

    def __init__(
        self,
        blocks: BlockList,
        interval_s: float,
        orphan_age_s: float,
        clock: Callable[[], float],
        *,
        dry_run: bool = False,
    ) -> None:
        """interval_s: 0: never. orphan_age_s: how old all objects of a folder must be before it is deleted"""
        self._store, self._blocks, self._clock, self._dry_run = blocks.store, blocks, clock, dry_run
        self._interval_s, self._orphan_age_s = interval_s, orphan_age_s
        self._due_s = clock() + interval_s

    def run(self, tenants: Sequence[str]) -> None:
        """Does it, if it is due. Raises: StorageError if objects cannot be listed"""
        if self._interval_s and self._clock() >= self._due_s:
            self._due_s = self._clock() + self._interval_s
            self.run_now(tenants)

    def run_now(self, tenants: Sequence[str]) -> None:
        """Lists all objects of blocks of the tenants. Raises: StorageError if objects cannot be listed"""
        missing: list[str] = []
        orphans = 0
        for tenant in tenants:
            try:
                blocks = tenant_blocks(self._blocks, tenant)
            except DamagedError:
                continue  # nothing is known of what belongs to it
            damaged = {one.block_id for one in self._blocks.damaged() if one.tenant == tenant}
            kept = {one.block_id for one in blocks.index.removed} | damaged
            unseen = set(blocks.shown.table["block_id"].to_pylist())
            folders = self._folders(tenant)
            while some := {folder.block_id: folder for folder in itertools.islice(folders, _AT_ONCE)}:
                unseen -= some.keys()
                named = {meta.block_id: meta for meta in blocks.find(some.keys())}
                for name, folder in some.items():
                    if name in named:
                        missing += _missing(named[name], folder)
                    elif name not in kept:
                        orphans += self._orphan(blocks, folder)
            missing += [f"blocks/{tenant}/{name} is missing" for name in sorted(unseen)]
        self._tell(missing)
        log.info("audit of all blocks: %d objects are missing, %d folders belonged to nothing", len(missing), orphans)

    def _is_old(self, folder: _Folder) -> bool:
        return folder.newest_s <= self._clock() - self._orphan_age_s

    def _folders(self, *within: str) -> Iterator[_Folder]:
        """The folders of a tenant's blocks, one after the other: all at once would not fit into memory.

        within: the tenant, or tenant and block id
        """

        def key(item: tuple[str, Stamp]) -> list[str]:
            return item[0].split("/")[:3]

        for parts, items in itertools.groupby(self._store.objects("/".join(("blocks", *within))), key):
            objects = {path.split("/", 3)[-1]: stamp for path, stamp in items}
            yield _Folder(parts[1], parts[2], objects)

    def _orphan(self, blocks: TenantBlocks, folder: _Folder) -> int:
        """Deletes a folder that belongs to nothing, if that is sure. Returns 1 if it did."""
        if not self._is_old(folder):
            return 0
        name = f"blocks/{folder.tenant}/{folder.block_id}"
        try:
            meta = self._meta_of(folder)
            # While a cut or the newest version of an index cannot be read, nobody knows what they name.
            if self._blocks.problems() or (meta is not None and not _accounted(blocks, meta)):
                log.warning("%s is named by no cut and no index, and may be needed: it stays", name)
                return 0
            if self._dry_run:
                log.warning("dry run: %s belongs to nothing; it would be deleted", name)
                return 0
            # Somebody may be writing it anew: the same blocks are merged into the same objects.
            if not all(map(self._is_old, self._folders(folder.tenant, folder.block_id))):
                return 0
            delete_block(self._store, folder.tenant, folder.block_id)
        except StorageError as err:
            ERRORS.inc()
            log.warning("%s stays until the next audit: %s", name, err)
            return 0
        ORPHANS.inc()
        log.info("%s belonged to nothing, and is deleted", name)
        return 1

    def _meta_of(self, folder: _Folder) -> BlockMeta | None:
        """The meta of a folder; None if it has none that can be read."""
        path = f"blocks/{folder.tenant}/{folder.block_id}/{_META}"
        data = self._store.get(path) if _META in folder.objects else None
        try:
            return None if data is None else decode_meta(path, data)
        except DamagedError:
            return None

    def _tell(self, missing: Sequence[str]) -> None:
        MISSING.set(len(missing))
        for text in missing[:_LOGGED_MAX]:
            log.error("damaged: %s, although an index or a cut names it", text)
        if (more := len(missing) - _LOGGED_MAX) > 0:
            log.error("and %d more objects are missing", more)


def _missing(meta: BlockMeta, folder: _Folder) -> list[str]:
    sizes = {file.name: file.size_bytes for file in meta.files}
    texts = [f"{meta.folder}/{name} is missing" for name in (*sizes, _META) if name not in folder.objects]
    for name, size_bytes in sizes.items():
        stamp = folder.objects.get(name)
        if stamp is not None and stamp.size_bytes != size_bytes:
            texts.append(f"{meta.folder}/{name} has {stamp.size_bytes} bytes, not {size_bytes}")
    return texts


def _accounted(blocks: TenantBlocks, meta: BlockMeta) -> bool:
    """Whether the spans of a block that nothing names are somewhere else for sure.

    A merged block's spans are in its inputs or in what replaced them; while all inputs are visible, it may be about to
    replace them. Those of a flushed block are in another block, where cuts cover its offsets.
    """
    if meta.level > 0:
        return len(blocks.shown.rows_with(meta.replaces)) < len(meta.replaces)
    place = (meta.cluster_id, meta.partition)
    return meta.last_offset < max(blocks.index.covered.get(place, 0), blocks.fresh.covered.get(place, 0))
