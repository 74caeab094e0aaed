"""A block's data.parquet: which of its columns are needed, and its traces some at a time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import list_offsets
from tables.errors import DamagedError
from tables.parquet.decode_errors import reading
from tables.parquet.footer_guard import read_guarded
from tables.storage.object_store import ObjectStore, RangeFile
from tables.tempo.block_meta import Assigned
from tables.tempo.rows import DEDICATED, RESOURCE_KEYS, SPAN_KEYS

# Lists are three groups in vParquet4 and one in vParquet5: with these left out, both have the same paths.
_LIST: Final = re.compile(r"\.list\.element")
_ATTRIBUTE: Final = ("Key", "Value", "ValueInt", "ValueDouble", "ValueBool")
_ATTRIBUTE_IN_SOME: Final = ("IsArray", "ValueUnsupported", "ValueDropped")
_SPAN, _EVENT, _LINK = "rs.ss.Spans", "rs.ss.Spans.Events", "rs.ss.Spans.Links"
_RESOURCE, _SCOPE = "rs.Resource", "rs.ss.Scope"
_DROPPED: Final = "DroppedAttributesCount"
_FIELDS: Final = {
    _RESOURCE: (_DROPPED, "ServiceName"),
    _SCOPE: ("Name", "Version", _DROPPED),
    _SPAN: (
        *("SpanID", "ParentSpanID", "Name", "Kind", "TraceState", "StartTimeUnixNano", "DurationNano"),
        *("StatusCode", "StatusMessage", _DROPPED, "DroppedEventsCount", "DroppedLinksCount"),
    ),
    _EVENT: ("TimeSinceStartNano", "Name", _DROPPED),
    _LINK: ("TraceID", "SpanID", "TraceState", _DROPPED),
}
_NEEDED: Final = frozenset(
    {"TraceID"}
    | {f"{group}.{name}" for group, names in _FIELDS.items() for name in names}
    | {f"{group}.Attrs.{name}" for group in _FIELDS for name in _ATTRIBUTE}
)
_WANTED: Final = frozenset(
    {f"{group}.Attrs.{name}" for group in _FIELDS for name in _ATTRIBUTE_IN_SOME}
    | {f"{_RESOURCE}.{column}" for column in RESOURCE_KEYS}
    | {f"{_SPAN}.{column}" for column in SPAN_KEYS}
    | {f"ServiceStats.{name}" for name in ("key_value.key", "key_value.value.SpanCount", "ServiceName", "SpanCount")}
)
# Texts that repeat: read as dictionaries, they are not copied for each entry.
_DICTIONARIES: Final = frozenset({f"{_SPAN}.Name"} | {f"{group}.Attrs.Key" for group in _FIELDS})
_GROUP_OF_SCOPE: Final = {"resource": _RESOURCE, "span": _SPAN, "event": _EVENT}

# What is decoded at once: about 32k spans, fewer if they have many attributes.
_BATCH_SPANS: Final = 32_768
_BATCH_ATTRIBUTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class TempoFile:
    """An open data.parquet. leaves: numbers of the leaf columns that are needed; paths: normalized, of all of them."""

    name: str
    file: pq.ParquetFile
    bytes: RangeFile
    leaves: list[int]
    paths: dict[str, int]

    @property
    def traces(self) -> int:
        """Number of rows."""
        return int(self.file.metadata.num_rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The traces of all row groups, in their order. Raises: DamagedError, StorageError"""
        for group in range(self.file.metadata.num_row_groups):
            metadata = self.file.metadata.row_group(group)
            if not metadata.num_rows:
                continue
            ranges = [_chunk(metadata.column(leaf)) for leaf in self.leaves]
            spans = metadata.column(self.paths[f"{_SPAN}.SpanID"]).num_values
            attributes = metadata.column(self.paths[f"{_SPAN}.Attrs.Key"]).num_values
            share = min(1.0, _BATCH_SPANS / max(1, spans), _BATCH_ATTRIBUTES / max(1, attributes))
            rows = max(1, int(metadata.num_rows * share))
            with reading(self.name, f"has a row group {group} that cannot be read"), self.bytes.holding(ranges):
                for batch in self.file.reader.iter_batches(
                    rows, row_groups=[group], column_indices=self.leaves, use_threads=False
                ):
                    yield _with_utf8(batch)


def open_tempo_file(store: ObjectStore, name: str, size_bytes: int, assigned: tuple[Assigned, ...]) -> TempoFile:
    """Opens a data.parquet of `size_bytes`. Raises: DamagedError if it is none, or lacks a column; StorageError"""
    source = RangeFile(partial(store.get_ranges, name), size_bytes)
    with reading(name, "cannot be opened"):
        metadata = read_guarded(name, source)
        whole = [metadata.schema.column(at).path for at in range(len(metadata.schema))]
        paths = {_LIST.sub("", path): at for at, path in enumerate(whole)}
        dictionaries = [whole[paths[path]] for path in _DICTIONARIES & paths.keys()]
        file = pq.ParquetFile(
            source,
            metadata=metadata,
            read_dictionary=dictionaries,
            pre_buffer=False,
            page_checksum_verification=True,
        )
    if missing := sorted(_NEEDED - paths.keys()):
        raise DamagedError(name, f"is no file of vParquet4 or vParquet5: it has no column {missing[0]}")
    dedicated = {f"{_GROUP_OF_SCOPE[one.scope]}.{DEDICATED}.{one.column}" for one in assigned}
    if lost := sorted(dedicated - paths.keys()):
        raise DamagedError(name, f"has no column {lost[0]}, which its meta.json assigns to an attribute")
    wanted = sorted(paths[path] for path in (_NEEDED | _WANTED | dedicated) & paths.keys())
    return TempoFile(name, file, source, wanted, paths)


def _chunk(column: Any) -> tuple[int, int]:
    """(start, length) of a column chunk, as Arrow asks for it."""
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    return start, column.total_compressed_size


def _with_utf8(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with strings that are UTF-8: Tempo keeps what clients send. Faulty bytes become U+FFFD."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        columns = [_mended(column) for column in batch.columns]
        mended = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        mended.validate(full=True)  # its texts may not be all that is wrong with it
        return mended
    return batch


def _mended(array: Any) -> Any:
    type_ = array.type
    if pa.types.is_map(type_):
        return pa.MapArray.from_arrays(pa.array(list_offsets(array)), _mended(array.keys), array.items)
    if pa.types.is_list(type_):
        return pa.ListArray.from_arrays(pa.array(list_offsets(array)), _mended(array.values))
    if pa.types.is_struct(type_):
        children = [_mended(array.field(at)) for at in range(type_.num_fields)]
        return pa.StructArray.from_arrays(children, [field.name for field in type_])
    if pa.types.is_dictionary(type_):
        return pa.DictionaryArray.from_arrays(array.indices, _mended(array.dictionary))
    if not pa.types.is_string(type_):
        return array
    texts = [None if raw is None else raw.decode(errors="replace") for raw in array.cast(pa.binary()).to_pylist()]
    return pa.array(texts, pa.string())
