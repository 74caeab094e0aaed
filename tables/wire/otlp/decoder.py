"""OTLP trace requests → rows of spans. Decodes whole requests, without a Python object per span."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import (
    Int32s,
    dictionary,
    fixed_bytes,
    fixed_width,
    list_offsets,
    list_parents,
    list_values,
    numbers,
)
from tables.columns.sorted_sets import unique
from tables.errors import FaultyRequests, NeedsSlowPath, WireError, as_value
from tables.schema import VALUE_FIELDS
from tables.wire.otlp.clean import CUT, DROPPED, REPAIRED, Cleaners
from tables.wire.otlp.descriptor import RequestHandler
from tables.wire.otlp.framing import Framing
from tables.wire.otlp.lenient import with_texts
from tables.wire.otlp.limits import Tally, limit_spans, limit_texts
from tables.wire.otlp.nested import FitValues
from tables.wire.otlp.pieces import Cutter

# Limits of a batch: more distinct resources and scopes, or more of their bytes to repair, take more than some
# milliseconds.
_QUICK_OWNERS_MAX: Final = 2000
_QUICK_REPAIRED_BYTES_MAX: Final = 16 << 10


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Spans of several requests, ready for `wire.record`.

    spans: one row per accepted span, in the order of the requests (columns: see `_flat`)
    request_of: the request number of each row
    received: number of spans per request
    rejected: per request, number of spans dropped because of an invalid trace id or span id
    refused, good: the dropped spans, and which of all that came were not dropped; None if all are here
    """

    spans: pa.RecordBatch
    request_of: Int32s
    received: npt.NDArray[np.int64]
    rejected: npt.NDArray[np.int64]
    refused: pa.RecordBatch | None = None
    good: npt.NDArray[np.bool_] | None = None


class OtlpDecoder:
    """Decodes OTLP requests. Not thread-safe: ptars holds the GIL anyway.

    attribute_bytes_max: longer attribute keys and values are truncated; owners_kept: resources, and scopes, whose check
    is remembered
    """

    def __init__(self, attribute_bytes_max: int = 65_536, owners_kept: int = 4096) -> None:
        self._handler = RequestHandler()
        self._bytes_handler = RequestHandler(texts=False)
        self._framing = Framing()
        self._fit_values = FitValues()
        self._type = self._handler.decode([]).column(0).type
        self._attribute_bytes_max = attribute_bytes_max
        self._cleaners = Cleaners(attribute_bytes_max, owners_kept)

    def decode(self, requests: Sequence[bytes], *, fast_path_only: bool = False) -> Decoded:
        """Rows of all the requests.

        Raises: WireError if any request is not a valid message; then none of them is decoded, and the caller finds
        the bad ones with `unreadable`. FaultyRequests names those whose resources or scopes are faulty, unless
        `fast_path_only` is wanted. NeedsSlowPath if it is wanted and texts or resources must be mended in Python.
        """
        tally = Tally(fast_path_only=fast_path_only, fit_values=self._fit_values)
        decoded = self._decode(requests, tally)
        CUT.inc(tally.cut)
        REPAIRED.inc(tally.repaired)
        DROPPED.inc(tally.dropped)
        return decoded

    def cutter(self, span_bytes_max: int) -> Cutter:
        """A cutter that splits a large request into smaller ones."""
        return Cutter(self._cleaners, self._attribute_bytes_max, span_bytes_max)

    def fault(self, request: bytes) -> WireError | None:
        """Why this request cannot be decoded; None if it can."""
        try:
            self._decode([request], Tally())
        except WireError as err:
            return as_value(err)
        return None

    def unreadable(self, request: bytes, *, details: bool) -> WireError | None:
        """Why this request is no message of OTLP; None where it is one, which may have other faults. Takes a
        hundredth of decoding it.

        details: whether the text is to say what is wrong, which takes a tenth of decoding where something is
        """
        try:
            self._framing.read(request)
        except WireError as err:
            return (self._requests_fault(request) if details else None) or as_value(err)
        return None

    def _requests_fault(self, request: bytes) -> WireError | None:
        """The error that ptars reports for a request, or None if it decodes."""
        try:
            self._framing.check(request)
            self._requests([request], Tally())
        except WireError as err:
            return as_value(err)
        return None

    def _decode(self, requests: Sequence[bytes], tally: Tally) -> Decoded:
        for request in requests:
            self._framing.check(request)
        return _flat(self._requests(requests, tally), self._cleaners, self._attribute_bytes_max, tally)

    def _requests(self, requests: Sequence[bytes], tally: Tally) -> Any:
        """A list of ResourceSpans per request."""
        try:
            return self._handler.decode(requests).column(0)
        except WireError as err:
            if "UTF-8" not in str(err):
                raise
            if tally.fast_path_only:
                raise NeedsSlowPath from err
        resources, repaired = with_texts(self._bytes_handler.decode(requests).column(0), self._type)
        tally.repaired += repaired
        return resources


def _flat(resource_lists: pa.ListArray, cleaners: Cleaners, attribute_bytes_max: int, tally: Tally) -> Decoded:
    """Requests → spans. The columns are those of a record: fixed columns of the schema, `attributes` as a list of
    key-value structs, the raw resource and scope as dictionaries, and optional columns if any span has them.
    """
    resources = list_values(resource_lists)
    scope_lists = resources.field("scope_spans")
    scopes = list_values(scope_lists)
    span_lists = scopes.field("spans")
    spans = limit_spans(list_values(span_lists), attribute_bytes_max, tally)
    scope_of = list_parents(span_lists)
    resource_of = list_parents(scope_lists)[scope_of]
    request_of = list_parents(resource_lists)[resource_of]

    trace_id, trace_ok = fixed_width(spans.field("trace_id"), 16)
    span_id, span_ok = fixed_width(spans.field("span_id"), 8)
    parent, _ = fixed_width(spans.field("parent_span_id"), 8)  # of a wrong length: no parent
    columns: dict[str, Any] = {"trace_id": trace_id, "span_id": span_id, "parent_span_id": parent}
    columns |= _plain_columns(spans)
    resource_requests = list_parents(resource_lists)
    for kind, parents, of, requests in (
        ("resource", resources, resource_of, resource_requests),
        ("scope", scopes, scope_of, resource_requests[list_parents(scope_lists)]),
    ):
        raw = parents.field(kind)
        try:
            columns[kind] = _clean(_spread(raw, of), kind, cleaners, tally)
        except _FaultyOwners as err:
            raise _faulty_requests(err, raw, requests) from None
    for name, parents, of in (
        ("resource_schema_url", resources, resource_of),
        ("scope_schema_url", scopes, scope_of),
    ):
        urls = limit_texts(parents.field("schema_url"), attribute_bytes_max, tally)
        if pc.max(pc.binary_length(urls)).as_py():
            columns[name] = _spread(urls, of)
    flat = pa.RecordBatch.from_pydict(columns)
    received = np.bincount(request_of, minlength=len(resource_lists))
    good = _valid_ids(trace_id, trace_ok) & _valid_ids(span_id, span_ok)
    if good.all():
        return Decoded(flat, request_of, received, np.zeros(len(resource_lists), np.int64))
    rejected = np.bincount(request_of[~good], minlength=len(resource_lists))
    refused = flat.filter(pa.array(~good))
    return Decoded(flat.filter(pa.array(good)), request_of[good], received, rejected, refused, good)


def _plain_columns(spans: pa.StructArray) -> dict[str, Any]:
    """The scalar columns of spans."""
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
    """Enum numbers as int8; unknown numbers become 0, 'unspecified'."""
    return np.where((codes >= 0) & (codes <= np.iinfo(np.int8).max), codes, 0).astype(np.int8)


def _spread(values: Any, rows: Int32s) -> pa.DictionaryArray:
    """values[rows] as a dictionary, so that equal values are stored once."""
    encoded = values.dictionary_encode()
    codes = encoded.indices.fill_null(0) if encoded.indices.null_count else encoded.indices
    return dictionary(numbers(codes)[rows], encoded.dictionary)


class _FaultyOwners(Exception):  # noqa: N818
    """faults: by the raw resource or scope"""

    def __init__(self, faults: dict[bytes, WireError]) -> None:
        self.faults = faults


def _faulty_requests(found: _FaultyOwners, owners: Any, request_of: Int32s) -> FaultyRequests:
    """request_of: for each of the owners"""
    faults: dict[int, WireError] = {}
    for raw, fault in found.faults.items():
        rows = numbers(pc.fill_null(pc.equal(owners, pa.scalar(raw, owners.type)), False).cast(pa.uint8()))
        faults |= dict.fromkeys(unique(request_of[rows != 0]).tolist(), fault)
    assert faults, "a resource or scope of no request"
    return FaultyRequests(dict(sorted(faults.items())))


def _clean(column: pa.DictionaryArray, kind: str, cleaners: Cleaners, tally: Tally) -> pa.DictionaryArray:
    """Raw resources or scopes, each distinct one cleaned. Raises: _FaultyOwners with all that cannot be read, or where
    `fast_path_only` is wanted WireError for the first; NeedsSlowPath.
    """
    if tally.fast_path_only and len(column.dictionary) > _QUICK_OWNERS_MAX:
        raise NeedsSlowPath
    came = column.dictionary.to_pylist()
    cleaned = []
    repaired_bytes = 0
    faults: dict[bytes, WireError] = {}
    for raw in came:
        try:
            new = cleaners.clean(kind, raw, fast_path_only=tally.fast_path_only)
        except WireError as err:
            if tally.fast_path_only:
                raise
            faults[raw] = as_value(err)
            continue
        cleaned.append(new)
        repaired_bytes += len(raw) if new.data != raw else 0
        if tally.fast_path_only and repaired_bytes > _QUICK_REPAIRED_BYTES_MAX:
            raise NeedsSlowPath
    if faults:
        raise _FaultyOwners(faults)
    if all(new.data == raw for new, raw in zip(cleaned, came, strict=True)):
        return column
    for new in cleaned:
        tally.cut += new.cut
        tally.repaired += new.repaired
        tally.dropped += new.dropped
    return pa.DictionaryArray.from_arrays(column.indices, pa.array([new.data for new in cleaned], pa.binary()))


def _valid_ids(ids: Any, right_length: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_]:
    """Mask of the ids that have the right length and are not all zero, as OTLP requires."""
    words = fixed_bytes(ids).view(np.uint64)
    valid: npt.NDArray[np.bool_] = (words != 0).max(axis=1, initial=False)
    return valid if right_length is None else valid & right_length


def compact_attributes(lists: pa.ListArray) -> pa.ListArray:
    """list<struct<key, value>> from ptars → list<struct<key: dictionary, the value fields in use>>."""
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
