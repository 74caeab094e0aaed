"""Compares all objects of a bucket with what was written: by checksums, sizes, and by what names what."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, NamedTuple

from tables.blocks.meta import BlockMeta, decode_meta
from tables.catalog.block_list import BlockList
from tables.catalog.check_block import check_block
from tables.catalog.checkpoints import decode_checkpoint
from tables.catalog.cuts import Cut, decode_cut
from tables.catalog.index_store import IndexStore
from tables.catalog.place import Place, place_folder, split_path
from tables.catalog.rebuild import CutRanges
from tables.catalog.redaction_objects import decode_redaction
from tables.catalog.tenant_index import TenantIndex, index_path
from tables.errors import DamagedError, StorageError
from tables.storage.checksum import has_checksum
from tables.storage.object_store import ObjectStore
from tables.storage.read_many import read_many

Severity = Literal["error", "warning"]
_META: Final = "meta.json"
_AT_ONCE: Final = 256


class Finding(NamedTuple):
    """Something that is not as it should be.

    severity: error: spans are missing in answers, or will be; warning: something is left over, or cannot be checked
    repair: what `stretto blocks check --repair` does about it: index, meta, bloom, missing; "": nothing
    """

    severity: Severity
    path: str
    problem: str
    repair: str = ""
    tenant: str = ""
    block_id: str = ""


@dataclass(slots=True)
class Checked:
    """How much was looked at, by kind of object."""

    objects: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    spans: int = 0


def check_bucket(
    blocks: BlockList,
    tenants: Iterable[str] | None = None,
    *,
    data: bool = True,
    checked: Checked | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Iterator[Finding]:
    """Everything that is wrong. The blocks have been polled just now.

    tenants: only their indexes and blocks; cuts and checkpoints are of all. data: also reads all data files whole
    progress: is told what is looked at
    Raises: StorageError if the storage is away
    """
    done = checked if checked is not None else Checked()
    store = blocks.store
    progress("cuts and checkpoints")
    cuts = _Cuts(store, done)
    yield from cuts.findings()
    yield from _checkpoints(store, done)
    wanted = None if tenants is None else set(tenants)
    for tenant in sorted(_tenants(blocks) if wanted is None else wanted):
        progress(f"tenant {tenant}")
        yield from _Tenant(blocks, tenant, cuts, done, data=data).findings()


def _tenants(blocks: BlockList) -> set[str]:
    """All that blocks, cuts or indexes are there of."""
    folders = [*blocks.store.folders("blocks"), *blocks.store.folders("index")]
    return blocks.tenants() | {path.rpartition("/")[2] for path in folders}


def cut_ranges(store: ObjectStore) -> CutRanges:
    """What the cuts that are there say of blocks. Raises: StorageError"""
    cuts = _Cuts(store, Checked())
    return CutRanges(cuts.found, cuts.damaged)


class _Cuts:
    """Checks every cut in storage, whether or not a checkpoint still needs it."""

    def __init__(self, store: ObjectStore, checked: Checked) -> None:
        self._store = store
        self.damaged: dict[str, str] = {}
        self.unchecked: list[str] = []
        self.found: dict[Place, dict[int, Cut]] = {}
        self.strange: list[str] = []
        paths = list(store.paths("cuts"))
        for first in range(0, len(paths), _AT_ONCE):
            for path, cut in read_many(self._read, paths[first : first + _AT_ONCE]).items():
                checked.objects["cuts"] += 1
                if isinstance(cut, StorageError):
                    self.damaged[path] = _problem(cut)
                elif cut is not None and (named := split_path(path)) is not None:
                    self.found.setdefault(named[0], {})[named[1]] = cut

    def _read(self, path: str) -> Cut | None:
        if split_path(path) is None:
            self.strange.append(path)
            return None
        data = self._store.get(path)
        if data is None:
            return None  # deleted since the listing
        cut = decode_cut(path, data)
        if not has_checksum(data):
            self.unchecked.append(path)
        return cut

    def offsets(self, place: Place) -> list[int]:
        """The first offsets of the partition's cuts, damaged ones included."""
        return [offset for of, offset in _split([*self.damaged]) if of == place] + list(self.found.get(place, {}))

    def findings(self) -> Iterator[Finding]:
        for path, problem in sorted(self.damaged.items()):
            yield Finding("error", path, problem)
        for path in sorted(self.unchecked):
            yield Finding("warning", path, "has no checksum: an earlier version wrote it, or it is damaged")
        for path in sorted(self.strange):
            yield Finding("warning", path, "is not a cut's path")


def _split(paths: Iterable[str]) -> list[tuple[Place, int]]:
    """Place and offset of each path that has them."""
    return [named for path in paths if (named := split_path(path)) is not None]


def _problem(err: StorageError) -> str:
    return err.problem if isinstance(err, DamagedError) else str(err)


def _checkpoints(store: ObjectStore, checked: Checked) -> Iterator[Finding]:
    for path in store.paths("checkpoints"):
        checked.objects["checkpoints"] += 1
        if split_path(path) is None:
            yield Finding("warning", path, "is not a checkpoint's path")
            continue
        try:
            data = store.get(path)
            if data is not None:
                decode_checkpoint(path, data)
        except StorageError as err:
            yield Finding("error", path, _problem(err))


class _Tenant:
    """The index and the blocks of one tenant."""

    def __init__(self, blocks: BlockList, tenant: str, cuts: _Cuts, checked: Checked, *, data: bool) -> None:
        self._blocks, self._store, self._tenant, self._cuts = blocks, blocks.store, tenant, cuts
        self._checked, self._data = checked, data

    def findings(self) -> Iterator[Finding]:
        yield from self._indexes()
        yield from self._redactions()
        index = self._blocks.index(self._tenant) or TenantIndex(self._tenant)
        snapshot = self._blocks.snapshot(self._tenant)
        for place, problem in sorted(snapshot.problems.items()):
            yield Finding("error", f"cuts/{place[0]}/{place[1]:05d}", problem, "index", self._tenant)
        yield from self._lost_checkpoints(index)
        visible = {meta.block_id: meta for meta in [*index.metas(), *snapshot.cut_blocks]}
        unread = {one.block_id: one for one in snapshot.damaged}
        folders = self._folders()
        for block_id in sorted(visible.keys() | unread.keys() | folders.keys()):
            objects = folders.get(block_id, {})
            if block_id in visible:
                found = list(self._visible(visible[block_id], objects))
                if any(one.severity == "error" for one in found) and not self._is_still_visible(block_id):
                    continue
                yield from found
            elif block_id in unread:
                path = f"blocks/{self._tenant}/{block_id}/{_META}"
                yield Finding("error", path, unread[block_id].problem, "missing", self._tenant, block_id)
            else:
                yield from self._unnamed(block_id, objects, index)

    def _lost_checkpoints(self, index: TenantIndex) -> Iterator[Finding]:
        """Cuts are deleted only below a checkpoint. Without it readers go by the index alone, which is enough."""
        checkpoints = {place for place, _ in _split(self._store.paths("checkpoints"))}
        starts: dict[Place, int] = {}
        for meta in index.metas():
            place = (meta.cluster_id, meta.partition)
            starts[place] = min(meta.first_offset, starts.get(place, meta.first_offset))
        for place, start in sorted(starts.items()):
            if place not in checkpoints and min(self._cuts.offsets(place), default=start + 1) > start:
                path = f"checkpoints/{place_folder(place)}"
                yield Finding("warning", path, f"has no checkpoint, and the cuts from offset {start} on are deleted")

    def _indexes(self) -> Iterator[Finding]:
        """Checks every stored version of the tenant's index."""
        indexes = IndexStore(self._store)
        versions = sorted(indexes.listed(self._tenant).get(self._tenant, {}))
        for version in versions:
            path = index_path(self._tenant, version)
            self._checked.objects["indexes"] += 1
            try:
                data = self._store.get(path)
                if data is not None:
                    indexes.check_object(path, data)
                if version == versions[-1]:
                    indexes.read(self._tenant, version)  # all that it consists of
            except StorageError as err:
                newest = version == versions[-1]
                yield Finding("error" if newest else "warning", path, _problem(err), "index", self._tenant)

    def _redactions(self) -> Iterator[Finding]:
        for path in self._store.paths(f"redactions/{self._tenant}"):
            self._checked.objects["redactions"] += 1
            try:
                data = self._store.get(path)
                if data is not None:
                    decode_redaction(path, data)
            except StorageError as err:
                yield Finding("error", path, _problem(err), tenant=self._tenant)

    def _folders(self) -> Mapping[str, Mapping[str, int]]:
        """By block id, the sizes of its objects by name."""
        folders: dict[str, dict[str, int]] = {}
        for path, stamp in self._store.objects(f"blocks/{self._tenant}"):
            block_id, _, name = path.split("/", 2)[2].partition("/")
            folders.setdefault(block_id, {})[name] = stamp.size_bytes
        return folders

    def _visible(self, meta: BlockMeta, objects: Mapping[str, int]) -> Iterator[Finding]:
        make = partial(Finding, tenant=self._tenant, block_id=meta.block_id)
        self._checked.objects["blocks"] += 1
        self._checked.objects["files"] += len(meta.files)
        self._checked.bytes += meta.size_bytes
        self._checked.spans += meta.spans
        yield from self._meta_object(meta, objects)
        for found in check_block(self._store, meta, objects, data=self._data):
            yield make("error", found.path, found.problem, found.repair)
        known = {_META, "bloom", *(file.name for file in meta.files)}
        for name in sorted(objects.keys() - known):
            yield make("warning", f"{meta.folder}/{name}", "belongs to nothing")

    def _is_still_visible(self, block_id: str) -> bool:
        """Looks again: a compactor that runs meanwhile may have replaced a block, and deleted it."""
        self._blocks.poll([])
        snapshot, index = self._blocks.snapshot(self._tenant), self._blocks.index(self._tenant)
        in_index = index is not None and index.meta_of(block_id) is not None
        return in_index or any(meta.block_id == block_id for meta in snapshot.cut_blocks)

    def _meta_object(self, meta: BlockMeta, objects: Mapping[str, int]) -> Iterator[Finding]:
        """Readers have the meta from an index or a cut; whoever makes these anew needs the object."""
        problem = "is missing"
        if _META in objects:
            problem = ""
            try:
                data = self._store.get(meta.path)
                found = None if data is None else decode_meta(meta.path, data)
                if data is not None and not has_checksum(data):
                    yield Finding(
                        "warning", meta.path, "has no checksum: an earlier version wrote it, or it is damaged",
                        "meta", self._tenant, meta.block_id,
                    )  # fmt: skip
                if found is None:
                    problem = "is missing"
                elif _facts(found) != _facts(meta):
                    problem = "says something else than the index or cut that names the block"
            except StorageError as err:
                problem = _problem(err)
        if problem:
            yield Finding("error", meta.path, problem, "meta", self._tenant, meta.block_id)

    def _unnamed(self, block_id: str, objects: Mapping[str, int], index: TenantIndex) -> Iterator[Finding]:
        """A folder that nothing names: it was replaced, or is being written, or was left by a process that died."""
        folder = f"blocks/{self._tenant}/{block_id}"
        self._checked.objects["unnamed blocks"] += 1
        if any(one.block_id == block_id for one in index.removed):
            return  # it is deleted after a while
        make = partial(Finding, tenant=self._tenant, block_id=block_id)
        if _META not in objects:
            yield make("warning", folder, "has no meta.json: it is being written, or was left half-written")
            return
        path = f"{folder}/{_META}"
        try:
            data = self._store.get(path)
            meta = None if data is None else decode_meta(path, data)
        except StorageError as err:
            yield make("warning", path, _problem(err))
            return
        if meta is None:
            return
        place = (meta.cluster_id, meta.partition)
        end = max(self._cut_end(place), index.covered.get(place, 0))
        if meta.level == 0 and not meta.replaces and meta.last_offset >= end:
            text = "is named by no cut: it is being flushed, or the cut was deleted"
        elif meta.level == 0 and not meta.replaces and not self._is_covered(meta, index):
            text = "is named by no cut, and no other block has its offsets: the cut was deleted"
            yield make("error", folder, text, "index")
            return
        else:
            text = "is named by no cut and no index: what was made of it was not shown, or replaced"
        yield make("warning", folder, text)

    def _cut_end(self, place: Place) -> int:
        return max((cut.last_offset + 1 for cut in self._cuts.found.get(place, {}).values()), default=0)

    def _is_covered(self, meta: BlockMeta, index: TenantIndex) -> bool:
        """Whether the index or a cut accounts for the block's offsets."""
        place = (meta.cluster_id, meta.partition)
        if meta.last_offset < index.covered.get(place, 0):
            return True
        cuts = self._cuts.found.get(place, {}).values()
        return any(cut.first_offset <= meta.last_offset and meta.first_offset <= cut.last_offset for cut in cuts)


def _facts(meta: BlockMeta) -> BlockMeta:
    """What the object and whatever names the block must agree about: not which redactions found nothing in it, and not
    what an earlier version leaves out when it writes an index.
    """
    files = [file.model_copy(update={"trace_start_max_ns": 0}) for file in meta.files]
    return meta.model_copy(update={"redactions": [], "files": files})
