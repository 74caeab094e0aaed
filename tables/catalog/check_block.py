"""Compares the objects of one visible block with its meta."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tables.blocks.bloom import bloom_path, checked_filter, filter_ranges, inline_filter
from tables.blocks.meta import BlockMeta, FileMeta
from tables.blocks.write import traces_of
from tables.errors import DamagedError, StorageError
from tables.parquet.read import ParquetSource
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, RangeFile

_CACHE_BYTES: Final = 64 << 20
_BLOOM: Final = "bloom"


class Problem(NamedTuple):
    """repair: as of `tables.catalog.check.Finding`"""

    path: str
    problem: str
    repair: str = ""


def check_block(store: ObjectStore, meta: BlockMeta, objects: Mapping[str, int], *, data: bool) -> Iterator[Problem]:
    """What is wrong with the files and filters of a block. objects: sizes by name; data: also reads files whole"""
    for file in meta.files:
        path, size = meta.path_of(file), objects.get(file.name)
        if size is None:
            yield Problem(path, "is missing", "missing")
        elif size != file.size_bytes:
            yield Problem(path, f"has {size} bytes, not {file.size_bytes}", "missing")
        elif data:
            yield from _file(store, meta, file)
        try:
            inline_filter(meta, file)
        except DamagedError as err:
            yield Problem(meta.path, err.problem, "meta")
    yield from _bloom(store, meta, objects)


def _file(store: ObjectStore, meta: BlockMeta, file: FileMeta) -> Iterator[Problem]:
    path = meta.path_of(file)
    try:
        data = store.get(path)
    except StorageError as err:
        yield Problem(path, str(err))
        return
    if data is None:
        yield Problem(path, "is missing", "missing")
        return
    if problem := _content(path, data, file):
        yield Problem(path, problem, "missing")
        return
    ids, latest_ns = traces_of(data, (file.start_min_ns, file.end_max_ns))
    low, high = (ids[at].ljust(16, b"\0").hex() for at in (0, -1))
    if file.trace_id_min and (low, high) != (file.trace_id_min, file.trace_id_max):
        yield Problem(path, f"has trace ids from {low} to {high}; its meta says otherwise")
    if file.trace_start_max_ns not in (0, latest_ns):
        yield Problem(path, f"has a last trace that begins at {latest_ns}; its meta says otherwise")


def _content(path: str, data: bytes, file: FileMeta) -> str:
    """What is wrong with a file's bytes; "" if they are those that were written."""
    if problem := file.difference(data):
        return problem
    try:
        rows = pq.read_metadata(pa.BufferReader(data)).num_rows
        if rows != file.spans:
            return f"has {rows} rows of {file.spans}"
        if not file.crc32:  # an earlier version wrote it: its pages have checksums
            _decode(path, data, file)
    except DamagedError as err:
        return err.problem
    except (pa.ArrowException, OSError) as err:
        return f"cannot be opened: {err}"
    return ""


def _decode(path: str, data: bytes, file: FileMeta) -> None:
    """Reads all columns. Raises: DamagedError"""
    buffer = pa.py_buffer(data)
    opener = partial(RangeFile, lambda ranges: [buffer.slice(*one) for one in ranges], file.size_bytes)
    ParquetSource(path, opener, ByteCache("check", _CACHE_BYTES), file.spans).verify()


def _bloom(store: ObjectStore, meta: BlockMeta, objects: Mapping[str, int]) -> Iterator[Problem]:
    path, size = bloom_path(meta), objects.get(_BLOOM)
    if not meta.bloom_bytes:
        if size is not None:
            yield Problem(path, "belongs to nothing: the block's meta names no filters")
        return
    if size != meta.bloom_bytes:
        yield Problem(path, "is missing" if size is None else f"has {size} bytes, not {meta.bloom_bytes}", _BLOOM)
        return
    try:
        data = store.get(path) or b""
        for file, (start, length) in zip(meta.files, filter_ranges(meta.files), strict=True):
            if length:
                checked_filter(meta, file, data[start : start + length])
    except StorageError as err:
        yield Problem(path, err.problem if isinstance(err, DamagedError) else str(err), _BLOOM)
