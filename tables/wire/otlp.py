"""OTLP trace requests → rows of spans, whole requests at a time: no Python object per span."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.errors import WireError
from tables.lists import (
    Int32s,
    dictionary,
    fixed_bytes,
    fixed_width,
    list_offsets,
    list_parents,
    list_values,
    numbers,
)
from tables.schema import VALUE_FIELDS
from tables.wire.otlp_descriptor import RequestHandler


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Spans of several requests, ready for `wire.record`.

    spans: one row per accepted span, in the order of the requests (columns: see `_flat`)
    request_of: for each row the request that it came in
    received: per request, how many spans it held
    rejected: per request, how many were dropped because of an invalid trace id or span id
    """

    spans: pa.RecordBatch
    request_of: Int32s
    received: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]


class OtlpDecoder:
    """Decodes OTLP requests. Not thread-safe: ptars holds the GIL anyway."""

    def __init__(self) -> None:
        self._handler = RequestHandler()

    def decode(self, requests: Sequence[bytes]) -> Decoded:
        """Rows of all the requests.

        Raises: WireError if any request is not a valid message; then none of them is decoded, and the caller finds
        the bad one with `fault`.
        """
        try:
            batch = self._handler.decode(requests)
        except ValueError as err:
            raise WireError(f"not an OTLP ExportTraceServiceRequest: {err}") from err
        return _flat(batch)

    def fault(self, request: bytes) -> str | None:
        """Why this request cannot be decoded; None if it can."""
        try:
            self._handler.decode([request])
        except ValueError as err:
            return f"not an OTLP ExportTraceServiceRequest: {err}"
        return None


def _flat(batch: pa.RecordBatch) -> Decoded:
    """Requests → spans. Columns are those of a record: fixed ones of the schema, `attributes` as a list of
    key-value structs, the raw resource and scope as dictionaries, and optional ones where any span has them.
    """
    resource_lists = batch.column(0)
    resources = list_values(resource_lists)
    scope_lists = resources.field("scope_spans")
    scopes = list_values(scope_lists)
    span_lists = scopes.field("spans")
    spans = list_values(span_lists)
    scope_of = list_parents(span_lists)
    resource_of = list_parents(scope_lists)[scope_of]
    request_of = list_parents(resource_lists)[resource_of]

    trace_id, trace_ok = fixed_width(spans.field("trace_id"), 16)
    span_id, span_ok = fixed_width(spans.field("span_id"), 8)
    parent, _ = fixed_width(spans.field("parent_span_id"), 8)  # of a wrong length: no parent
    columns: dict[str, Any] = {"trace_id": trace_id, "span_id": span_id, "parent_span_id": parent}
    columns |= _plain_columns(spans)
    columns["resource"] = _spread(resources.field("resource"), resource_of)
    columns["scope"] = _spread(scopes.field("scope"), scope_of)
    for name, parents, of in (
        ("resource_schema_url", resources, resource_of),
        ("scope_schema_url", scopes, scope_of),
    ):
        urls = parents.field("schema_url")
        if pc.max(pc.binary_length(urls)).as_py():
            columns[name] = _spread(urls, of)
    flat = pa.RecordBatch.from_pydict(columns)
    received = np.bincount(request_of, minlength=len(batch))
    good = _valid_ids(trace_id, trace_ok) & _valid_ids(span_id, span_ok)
    if good.all():
        return Decoded(flat, request_of, received, np.zeros(len(batch), np.int64))
    rejected = np.bincount(request_of[~good], minlength=len(batch))
    return Decoded(flat.filter(pa.array(good)), request_of[good], received, rejected)


def _plain_columns(spans: pa.StructArray) -> dict[str, Any]:
    """What a span holds itself."""
    start = numbers(spans.field("start_time_unix_nano")).view(np.int64)
    end = numbers(spans.field("end_time_unix_nano")).view(np.int64)
    status = spans.field("status")
    name = spans.field("name").dictionary_encode()
    columns: dict[str, Any] = {
        "name": dictionary(numbers(name.indices), name.dictionary),
        "kind": pa.array(_small(numbers(spans.field("kind")))),
        "start_ns": pa.array(start),
        "duration_ns": pa.array(end - start),
        "status_code": pa.array(_small(numbers(pc.fill_null(pc.struct_field(status, "code"), 0)))),
        "status_message": pc.fill_null(pc.struct_field(status, "message"), ""),
        "attributes": compact_attributes(spans.field("attributes")),
    }
    for column in ("flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        if pc.max(spans.field(column)).as_py():
            columns[column] = spans.field(column)
    if pc.max(pc.binary_length(spans.field("trace_state"))).as_py():
        columns["trace_state"] = spans.field("trace_state")
    for column in ("events", "links"):
        if len(spans.field(column).values):
            columns[column] = spans.field(column)
    return columns


def _small(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int8]:
    """Enum numbers as int8; numbers that no enum has become 0, its 'unspecified'."""
    return np.where((codes >= 0) & (codes <= np.iinfo(np.int8).max), codes, 0).astype(np.int8)


def _spread(values: Any, rows: Int32s) -> pa.DictionaryArray:
    """values[rows] as a dictionary, so that equal ones are kept once."""
    encoded = values.dictionary_encode()
    codes = encoded.indices.fill_null(0) if encoded.indices.null_count else encoded.indices
    return dictionary(numbers(codes)[rows], encoded.dictionary)


def _valid_ids(ids: Any, right_length: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    """Of the right length and not all zero, as OTLP demands."""
    words = fixed_bytes(ids).view(np.uint64)
    valid: npt.NDArray[np.bool_] = (words != 0).max(axis=1, initial=False)
    return valid if right_length is None else valid & right_length


def compact_attributes(lists: pa.ListArray) -> pa.ListArray:
    """list<struct<key, value>> as ptars gives it → list<struct<key: dictionary, the value fields in use>>."""
    pairs = lists.values
    value = pairs.field("value")
    used = [field for field in VALUE_FIELDS if value.field(field).null_count < len(value)]
    key = pairs.field("key").dictionary_encode()
    fields = [dictionary(numbers(key.indices), key.dictionary)]
    # `flatten` applies the nulls of the struct to its fields; `field` alone would not.
    children = dict(zip([f.name for f in value.type], value.flatten(), strict=True)) if value.null_count else None
    fields += [children[f] if children else value.field(f) for f in used]
    struct = pa.StructArray.from_arrays(fields, ["key", *used])
    return pa.ListArray.from_arrays(pa.array(list_offsets(lists)), struct)
