"""The small files of many blocks as few sources.

Groups are fixed: which files are together follows from the files alone, so that a new block changes only the newest
group, and what is decoded of the others stays. A group ends behind a block whose id says so.
"""

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from tables.blocks.block_file import BlockFile
from tables.blocks.meta import BlockMeta, FileMeta
from tables.errors import StorageError
from tables.parquet.directory import DIRECTORY_BYTES_MAX, SMALL_FILE_BYTES, Directory
from tables.parquet.group import GroupSource
from tables.parquet.read import ColumnCache
from tables.parquet.small_files import LoadedFile, SmallFile, describe, load
from tables.storage.at_once import at_once
from tables.storage.byte_cache import ByteCache
from tables.wall import walled

# As many rows as a segment has at most: a source of any other size costs more per row, or more memory at once.
GROUP_ROWS_MAX: Final = 1 << 16
GROUP_BYTES_MAX: Final = 16 << 20
# A query reads column after column of a group, and some of them again and again.
COLUMNS_BYTES_MIN: Final = 32 << 20
# On average so many blocks lie between two whose ids end a group.
_BLOCKS_BETWEEN_ENDS: Final = 256
_SMALL_FILE_BYTES: Final = SMALL_FILE_BYTES + DIRECTORY_BYTES_MAX
# Groups whose files are held in any case: a query reads column after column of one group.
_RECENT_GROUPS: Final = 2
_GROUP_OBJECTS_BYTES_MAX: Final = 16 << 20
_FILE_OBJECT_BYTES: Final = 500
_ENDS_BYTES_MAX: Final = 8 << 20
_VIEWS_KEPT: Final = 16
# Data that is read once does not evict data that was used this recently.
_IN_USE_S: Final = 60.0

ReadFile = Callable[[str, int, int], Any]  # bytes of a file: by path, where they begin, and how many


class _Member(NamedTuple):
    meta: BlockMeta
    file: FileMeta


class FileGroups:
    """Groups of small files, one for a process. Thread-safe."""

    def __init__(
        self, read_file: ReadFile, columns: ColumnCache, bytes_max: int, threads: int = 1, *, ends_first: bool = False
    ) -> None:
        """columns: where decoded columns go, unless it is too small to hold what one query asks of one group

        bytes_max: for the bytes of small files; threads: so many files of a group are read at once
        ends_first: whether a file's end is read before the file. What no file has is known from the ends; what some may
            have takes another read, which has to be cheap
        """
        self._read_file = read_file
        self._columns = columns if columns.bytes_max >= COLUMNS_BYTES_MIN else ByteCache("columns", COLUMNS_BYTES_MIN)
        self._loaded: ByteCache[str, LoadedFile] = ByteCache("small_files", bytes_max)
        self._ends: ByteCache[str, Directory] | None = None
        if ends_first:
            self._ends = ByteCache("small_file_ends", _ENDS_BYTES_MAX)
        self._groups: ByteCache[str, GroupSource] = ByteCache("file_groups", _GROUP_OBJECTS_BYTES_MAX)
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, Sequence[LoadedFile]] = OrderedDict()
        self._views: OrderedDict[tuple[str, ...], tuple[list[BlockMeta], list[GroupSource]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(threads, "small-files") if threads > 1 else None

    def sources(self, metas: Sequence[BlockMeta], open_large: Callable[[BlockMeta], Iterable[BlockFile]]) -> list[Any]:
        """Sources for all files of some blocks of one tenant. open_large: gives those of a block that is not small"""
        view = tuple(meta.block_id for meta in metas)
        with self._lock:
            found = self._views.get(view)
            if found is not None:
                self._views.move_to_end(view)
        if found is None:
            large = [meta for meta in metas if not _is_small(meta)]
            small = [meta for meta in metas if _is_small(meta)]
            found = large, [self._group(members) for members in _ranges(small)]
            with self._lock:
                self._views[view] = found
                while len(self._views) > _VIEWS_KEPT:
                    self._views.popitem(last=False)
        large, groups = found
        files = [source for meta in large for source in open_large(meta)]
        if self._pool is not None:
            # Of those of which the catalogue knows the times a query may need few: it describes them itself.
            unknown = [source for source in files if source.period is None and not source.is_described]
            self._describe(self._pool, unknown)
        return [*files, *groups]

    @staticmethod
    def _describe(pool: ThreadPoolExecutor, files: Sequence[BlockFile]) -> None:
        """Reads what large files say of their columns, of many files at once. What cannot be read now is an error where
        a query needs it.
        """
        if len(files) > 1:
            at_once(pool, [partial(walled, partial(_described, source)) for source in files])

    def _group(self, members: Sequence[_Member]) -> GroupSource:
        names = "\n".join(f"{meta.block_id}/{file.name}" for meta, file in members)
        tenant = members[0].meta.tenant
        key = f"group {tenant} {blake2b(names.encode(), digest_size=16).hexdigest()}"
        group = self._groups.get(key)
        if group is None:
            files = [_small_file(*member) for member in members]
            group = GroupSource(key, files, self._load, self._columns, self._directories)
            self._groups.put(key, group, _FILE_OBJECT_BYTES * len(members))
        return group

    def _load(self, group: GroupSource) -> Sequence[LoadedFile]:
        with self._lock:
            loaded = self._recent.get(group.key)
        if loaded is None:
            loaded = self._load_files(group.files)
        with self._lock:
            self._recent[group.key] = loaded
            self._recent.move_to_end(group.key)
            while len(self._recent) > _RECENT_GROUPS:
                self._recent.popitem(last=False)
        return loaded

    def _load_files(self, files: Sequence[SmallFile]) -> list[LoadedFile]:
        if self._pool is None:
            return [self._load_file(file) for file in files]
        return at_once(self._pool, [partial(walled, self._load_file, file) for file in files])

    def _load_file(self, file: SmallFile) -> LoadedFile:
        # By file, not by group: a new block makes a new group of files that are known.
        loaded = self._loaded.get(file.path)
        if loaded is None:
            described = None if self._ends is None else self._ends.get(file.path)
            loaded = load(file, self._read_file(file.path, 0, file.size_bytes), described)
            self._loaded.put(file.path, loaded, loaded.nbytes, spares_s=_IN_USE_S)
        return loaded

    def _directories(self, group: GroupSource) -> Sequence[Directory]:
        """What the files of a group say of themselves."""
        with self._lock:
            loaded = self._recent.get(group.key)
        if loaded is None and self._ends is not None:
            return [self._directory(self._ends, file) for file in group.files]
        return [file.directory for file in (group.load() if loaded is None else loaded)]

    def _directory(self, ends: ByteCache[str, Directory], file: SmallFile) -> Directory:
        if (loaded := self._loaded.get(file.path)) is not None:
            return loaded.directory
        found = ends.get(file.path)
        if found is None and file.tail is not None:
            size = file.tail.size_bytes
            found = describe(file, self._read_file(file.path, file.size_bytes - size, size))
            if found is not None:
                ends.put(file.path, found, found.nbytes, spares_s=_IN_USE_S)
        return self._load_file(file).directory if found is None else found


def _described(source: BlockFile) -> None:
    with suppress(StorageError):
        source.describe()


def _is_small(meta: BlockMeta) -> bool:
    return all(file.size_bytes <= _SMALL_FILE_BYTES and file.spans for file in meta.files)


def _small_file(meta: BlockMeta, file: FileMeta) -> SmallFile:
    return SmallFile(meta.path_of(file), file.size_bytes, file.spans, file.tail, file.traces)


def _ranges(metas: Sequence[BlockMeta]) -> Iterable[list[_Member]]:
    """The files of each group, in the order of time, so that a group lies within a short range."""
    group: list[_Member] = []
    rows = size = 0
    for meta in sorted(metas, key=lambda meta: (meta.start_min_ns, meta.block_id)):
        for file in meta.files:
            if group and (rows + file.spans > GROUP_ROWS_MAX or size + file.size_bytes > GROUP_BYTES_MAX):
                yield group
                group, rows, size = [], 0, 0
            group.append(_Member(meta, file))
            rows += file.spans
            size += file.size_bytes
        if group and zlib.crc32(meta.block_id.encode()) % _BLOCKS_BETWEEN_ENDS == 0:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group
