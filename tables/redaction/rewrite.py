"""Writes a block anew without what redactions remove."""

import uuid
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.blocks.bloom import BloomWriter, FilterQuestion, bloom_path, inline_filter
from tables.blocks.meta import BlockMeta, FileMeta
from tables.blocks.write import trace_ids_of
from tables.columns import overflow
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.errors import DamagedError
from tables.parquet.decode_errors import reading
from tables.parquet.write import to_parquet
from tables.redaction.apply import redacted_table
from tables.redaction.rules import Redaction
from tables.storage.checksum import Tail, tail_of
from tables.storage.object_store import ObjectStore

_NAMESPACE: Final = uuid.UUID("c2f0a6a4-4c55-5c31-9a54-1f0c3b7c1b0e")


def redacted_block_id(block_id: str, redactions: Sequence[Redaction]) -> str:
    """The id of a block without what the redactions remove. Whoever makes it writes the same objects."""
    return str(uuid.uuid5(_NAMESPACE, "/".join([block_id, *sorted(each.id for each in redactions)])))


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of a block.

    meta: what to show instead; None: nothing is left of it
    spans: how many were removed. files: how many were written anew
    """

    meta: BlockMeta | None
    spans: int
    files: int


def rewrite_block(
    store: ObjectStore,
    meta: BlockMeta,
    redactions: Sequence[Redaction],
    holding: Mapping[str, Collection[int]] | None = None,
) -> Rewritten | None:
    """Writes the block anew, file by file, then its filters, then meta.json. None: it has nothing to remove.

    holding: by trace id, numbers of the files that may hold the trace; traces that it lacks may be in all files
    Files that no redaction concerns are copied as they are. Memory: a file, decoded.
    Raises: DamagedError if a file of the block differs from what was written; StorageError
    """
    held = holding or {}
    changed = [
        [each for each in _concerned(meta, file, redactions) if number in held.get(each.trace_id, (number,))]
        for number, file in enumerate(meta.files)
    ]
    first = next((number for number, some in enumerate(changed) if _after(store, meta, number, some) is not None), None)
    if first is None:
        return None
    block_id = redacted_block_id(meta.block_id, redactions)
    made = meta.model_copy(update={"block_id": block_id, "replaces": [meta.block_id]})
    bloom, files, rewritten = BloomWriter(), list[FileMeta](), 0
    for number, file in enumerate(meta.files):
        data = _after(store, meta, number, changed[number]) if number >= first else None
        if data is not None:
            rewritten += 1
            if not data.num_rows:
                continue
        written = _file_bytes(store, meta, file) if data is None else to_parquet(data)
        files.append(_described(number, file, written, data, bloom))
        store.put(f"{made.folder}/{files[-1].name}", written)
    if not files:
        return Rewritten(None, meta.spans, rewritten)
    made = made.model_copy(
        update={
            "files": files,
            "spans": sum(file.spans for file in files),
            "size_bytes": sum(file.size_bytes for file in files),
            "start_min_ns": min(file.start_min_ns for file in files),
            "end_max_ns": max(file.end_max_ns for file in files),
            "redactions": sorted({*meta.redactions, *(each.id for each in redactions)}),
        }
    )
    if filters := bloom.data():
        store.put(bloom_path(made), filters)
    store.put(made.path, made.encode())
    return Rewritten(made, meta.spans - made.spans, rewritten)


def redacted_file(data: Any, redactions: Sequence[Redaction], name: str) -> tuple[Any, pa.Table | None]:
    """A segment's bytes and, where they changed, its table; no rows may be left. Raises: DamagedError"""
    table = _redacted(data, redactions, name)
    if table is None:
        return data, None
    return (to_parquet(table) if table.num_rows else b""), table


def may_concern(meta: BlockMeta, file: FileMeta, redaction: Redaction) -> bool:
    """Whether a file may have something that the redaction removes, as far as the block's meta says."""
    if redaction.id in meta.redactions or not redaction.concerns(file.start_min_ns, file.end_max_ns):
        return False
    if not redaction.trace_id or not file.trace_id_min:
        return True
    if not file.trace_id_min <= redaction.trace_id <= file.trace_id_max:
        return False
    try:
        filter_ = inline_filter(meta, file)
    except DamagedError:
        return True
    return filter_ is None or FilterQuestion(bytes.fromhex(redaction.trace_id)).may_be_in(filter_)


def _concerned(meta: BlockMeta, file: FileMeta, redactions: Sequence[Redaction]) -> list[Redaction]:
    return [redaction for redaction in redactions if may_concern(meta, file, redaction)]


def _after(store: ObjectStore, meta: BlockMeta, number: int, redactions: Sequence[Redaction]) -> pa.Table | None:
    """A file's table, redacted; None: nothing in it changes."""
    if not redactions:
        return None
    file = meta.files[number]
    return _redacted(_file_bytes(store, meta, file), redactions, f"{meta.folder}/{file.name}")


def _redacted(data: Any, redactions: Sequence[Redaction], name: str) -> pa.Table | None:
    with reading(name, "cannot be read"):
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True)
        names = file.schema_arrow.names
        if not any(_touches(redaction, names) for redaction in redactions):
            return None
        table = pa.concat_tables(_row_groups(file)).combine_chunks()
    after = redacted_table(table, redactions)
    return None if after is table else after


def _row_groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    for number in range(file.metadata.num_row_groups):
        yield file.read_row_group(number, use_threads=False)


def _touches(redaction: Redaction, columns: Sequence[str]) -> bool:
    """Whether a file with these columns may have something to remove."""
    return not redaction.attribute or any(
        name == overflow.COLUMN or redaction.concerns_column(name) for name in columns if name != "root_service"
    )


def _file_bytes(store: ObjectStore, meta: BlockMeta, file: FileMeta) -> bytes:
    """A whole file. Raises: DamagedError if it is not what was written"""
    path = f"{meta.folder}/{file.name}"
    data = store.get(path)
    if data is None:
        raise DamagedError(path, "is missing")
    if len(data) != file.size_bytes:
        raise DamagedError(path, f"has {len(data)} bytes of {file.size_bytes}")
    if file.crc32 and zlib.crc32(data) != file.crc32:
        raise DamagedError(path, "is damaged: its checksum is another one")
    tail = Tail(file.tail_bytes, file.tail_crc32)
    if tail.size_bytes and (problem := tail.problem(data[-tail.size_bytes :])):
        raise DamagedError(path, problem)
    return data


def _described(number: int, file: FileMeta, data: Any, table: pa.Table | None, bloom: BloomWriter) -> FileMeta:
    """The meta of a file that was written. table: None: it is as it was"""
    filters = bloom.add(trace_ids_of(data))._asdict()
    if table is None:
        return file.model_copy(update=filters)
    start_ns, end_ns = time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))
    tail = tail_of(data)
    crc32 = zlib.crc32(data)
    return FileMeta(
        # As a merge does: if two versions of Stretto write the same block at once, each meta names its own files.
        name=f"data-{number:04d}-{crc32:08x}.parquet",
        size_bytes=len(memoryview(data)),
        spans=table.num_rows,
        start_min_ns=start_ns,
        end_max_ns=end_ns,
        tail_bytes=tail.size_bytes,
        tail_crc32=tail.crc32,
        crc32=crc32,
        **filters,
    )
