"""What a picture of a trace needs of every span, and which spans of it match: a few columns of a trace of any size."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from query.engine.expressions import matches
from query.requests import SpanMatching
from query.scan.arrays import Mask, to_numpy
from query.scan.reader import SERVICE_NAME, Reader
from query.scan.source import Source
from query.scan.stitch import StitchedSource, stitch
from query.scan.trace_lookup import find
from query.trace.filter import compile_filter
from tables.columns.whole_traces import FACT_COLUMNS
from tables.schema import parse_attribute_column

# Of every span. What else it has is read with the span itself.
OUTLINE_COLUMNS: Final = (
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_ns",
    "duration_ns",
    "status_code",
    SERVICE_NAME,
    "events",
    "links",
    "nested_left",
    "nested_parent",
    "trace_start_ns",
    "trace_duration_ns",
    "root_name",
    "root_service",
)
_TEXTS: Final = ("name", "status_message", "scope_name", "scope_version", "trace_state")
_ENTRY_COLUMNS: Final = ("events", "links")
_VALUE_BYTES: Final = 16


def trace_outline(sources: Sequence[Source], trace_id: bytes) -> pa.Table | None:
    """All spans of a trace, by start, with those OUTLINE_COLUMNS that any source has; None: no source has a span of it.

    Strings are dictionary-encoded. Facts and nested-set numbers are the whole trace's; what a client sent twice is
    there once. Raises: OSError from a source, MemoryExceeded
    """
    found = _stitched(sources, trace_id, OUTLINE_COLUMNS)
    if found is None:
        return None
    return pa.table(dict(found.read([column for column in OUTLINE_COLUMNS if column in found.columns])))


def matching_spans(sources: Sequence[Source], trace_id: bytes, wanted: SpanMatching) -> pa.Table | None:
    """The ids of a trace's spans that match a filter and contain a text, as a table of one column `span_id`, each id
    once. None: no source has a span of the trace.

    Raises: TraceQLError, OSError from a source, MemoryExceeded
    """
    kept: list[Any] = []
    if wanted.query:
        compiled = compile_filter(wanted.query, 0, 0)
        found = _stitched(sources, trace_id, compiled.columns)
        if found is None:
            return None
        ids = found.read(["span_id"])["span_id"]
        if compiled.condition is not None:
            ids = ids.filter(pa.array(matches(compiled.condition, Reader(found))))
        kept.append(ids)
    if wanted.text or not wanted.query:
        pieces = [_with_text(source, rows, wanted.text) for source, rows in _rows(sources, trace_id)]
        if not pieces:
            return None
        kept.append(pa.concat_arrays(pieces))
    both = kept[0] if len(kept) == 1 else kept[0].filter(pc.is_in(kept[0], kept[1]))
    return pa.table({"span_id": both.unique()})


def _stitched(sources: Sequence[Source], trace_id: bytes, columns: Collection[str]) -> StitchedSource | None:
    ids = np.array([trace_id], "S16")
    some = []
    for source in sources:
        if source.rows:
            reader = Reader(source)
            among, traces = find(reader.traces(), ids)
            if len(traces):
                some.append((reader, among, traces))
    return stitch(some, columns) if some else None


def _rows(sources: Sequence[Source], trace_id: bytes) -> Iterator[tuple[Source, tuple[int, int]]]:
    """Each source that has spans of the trace, and from which to which row."""
    for source in sources:
        if source.rows:
            index = source.traces()
            _, traces = find(index, np.array([trace_id], "S16"))
            for trace in traces.tolist():
                yield source, (int(index.offsets[trace]), int(index.offsets[trace + 1]))


# ---- text


def _with_text(source: Source, rows: tuple[int, int], text: str) -> Any:
    """The ids of those rows' spans that contain a text in their name, status, scope, events or in a value of an
    attribute, or that have an attribute with this very key. `key=value` looks at the one attribute.
    """
    ids = source.read(["span_id"], rows)["span_id"]
    found = np.zeros(len(ids), np.bool_)
    key, equals, value = text.partition("=")
    for column in sorted(source.columns.difference(FACT_COLUMNS)):
        attribute = parse_attribute_column(column)
        if attribute is None:
            if column in _TEXTS:
                found |= _column_has(source, column, rows, text)
            elif column in _ENTRY_COLUMNS:
                found |= _entries_have(source, column, rows, text)
            continue
        if attribute.key.casefold() == text.casefold():
            found |= to_numpy(source.read([column], rows)[column].is_valid())
            continue
        found |= _column_has(source, column, rows, text)
        if equals and attribute.key.casefold() == key.strip().casefold():
            found |= _column_has(source, column, rows, value.strip())
    return ids.filter(pa.array(found))


def _column_has(source: Source, column: str, rows: tuple[int, int], text: str) -> Mask:
    with memory.current().scratch((rows[1] - rows[0]) * _VALUE_BYTES, f"column {column[:100]} of the trace"):
        return _contains(source.read([column], rows)[column], text)


def _contains(array: Any, text: str) -> Mask:
    """Which values contain the text, whatever the case; numbers as they are written. A list: if one of its items."""
    if pa.types.is_list(array.type):
        return _any_of(array, _contains(pc.list_flatten(array), text))
    if pa.types.is_dictionary(array.type):
        values, codes = array.dictionary, array.indices
    elif pa.types.is_string(array.type):
        encoded = array.dictionary_encode()
        values, codes = encoded.dictionary, encoded.indices
    elif pa.types.is_binary(array.type) or pa.types.is_nested(array.type):
        return np.zeros(len(array), np.bool_)
    else:
        encoded = array.dictionary_encode()
        values, codes = encoded.dictionary.cast(pa.string()), encoded.indices
    if not len(values):
        return np.zeros(len(array), np.bool_)
    hit = pc.match_substring(values, text, ignore_case=True).fill_null(False)
    return to_numpy(hit.take(codes).fill_null(False))


def _entries_have(source: Source, column: str, rows: tuple[int, int], text: str) -> Mask:
    """Events by their names and the texts of their attributes; links by the latter."""
    array = source.read([column], rows)[column]
    entries = pc.list_flatten(array)
    if not len(entries):
        return np.zeros(len(array), np.bool_)
    attributes = pc.struct_field(entries, "attributes")
    found = _any_of(attributes, _contains(pc.struct_field(pc.list_flatten(attributes), "string_value"), text))
    if column == "events":
        found = found | _contains(pc.struct_field(entries, "name"), text)
    return _any_of(array, found)


def _any_of(lists: Any, items: Mask) -> Mask:
    """Of each list, whether any of its items is true."""
    lengths = to_numpy(pc.list_value_length(lists).fill_null(0))
    out = np.zeros(len(lists), np.bool_)
    out[np.repeat(np.arange(len(lists)), lengths)[items]] = True
    return out
