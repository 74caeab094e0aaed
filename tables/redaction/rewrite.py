"""Writes a block anew without what redactions remove."""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.blocks.bloom import FilterQuestion, inline_filter
from tables.blocks.meta import BlockMeta, FileMeta
from tables.blocks.write import BlockWriter, SegmentFile
from tables.columns import overflow
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.errors import DamagedError
from tables.parquet.decode_errors import reading
from tables.parquet.write import to_parquet
from tables.redaction.apply import redacted_table
from tables.redaction.rules import Redaction
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
    after = ((number, _after(store, meta, number, some)) for number, some in enumerate(changed))
    first, table = next(((number, table) for number, table in after if table is not None), (None, None))
    if first is None:
        return None
    draft = meta.model_copy(
        update={
            "block_id": redacted_block_id(meta.block_id, redactions),
            "replaces": [meta.block_id],
            "redactions": sorted({*meta.redactions, *(each.id for each in redactions)}),
        }
    )
    writer, rewritten = BlockWriter(store, draft), 0
    for number, file in enumerate(meta.files):
        if number > first:
            table = _after(store, meta, number, changed[number])
        if number < first or table is None:
            writer.copy(file, _file_bytes(store, meta, file))
            continue
        rewritten += 1
        if table.num_rows:
            writer.add(_segment(table), number=number)
    if not writer.files:
        return Rewritten(None, meta.spans, rewritten)
    made = writer.finish()
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
    if not _may_touch(store, meta, file, redactions):
        return None
    return _redacted(_file_bytes(store, meta, file), redactions, meta.path_of(file))


def _may_touch(store: ObjectStore, meta: BlockMeta, file: FileMeta, redactions: Sequence[Redaction]) -> bool:
    """Whether a file has a column that a redaction concerns: by its footer, without reading the file."""
    tail = file.tail
    if tail is None or any(not each.attribute for each in redactions):
        return True
    path = meta.path_of(file)
    (data,) = store.get_ranges(path, [(file.size_bytes - tail.size_bytes, tail.size_bytes)])
    if problem := tail.problem(data):
        raise DamagedError(path, problem)
    with reading(path, "cannot be opened"):
        names = pq.ParquetSchema(pq.read_metadata(pa.BufferReader(pa.py_buffer(data)))).to_arrow_schema().names
    return any(_touches(each, names) for each in redactions)


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
    path = meta.path_of(file)
    data = store.get(path)
    if data is None:
        raise DamagedError(path, "is missing")
    if problem := file.difference(data):
        raise DamagedError(path, problem)
    return data


def _segment(table: pa.Table) -> SegmentFile:
    start_ns, end_ns = time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))
    # As a merge does: if two versions of Stretto write the same block at once, each meta names its own files.
    return SegmentFile(to_parquet(table), table.num_rows, start_ns, end_ns, merged=True)
