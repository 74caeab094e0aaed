"""OTLP requests of few spans → requests by tenant and partition, as bytes: without columns, whose making costs
milliseconds however few spans there are.

A span costs some microseconds here, so this is for batches of some hundred at most. Requests of one batch mostly come
from few processes, so that a resource is checked once, and written once for all spans of a tenant and partition.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.wire.otlp.clean import RESOURCE_ATTRIBUTES_MAX
from tables.wire.otlp.limits import ATTRIBUTES_MAX
from tables.wire.otlp.raw_requests import RawRequests, SpanField, SpanOrigin, request_of, span_fields
from tables.wire.split import partitions_of

# Larger ones are slow here.
REQUEST_BYTES_MAX: Final = 64 << 10
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_TRACE, _NO_SPAN = bytes(_TRACE_ID_BYTES), bytes(_SPAN_ID_BYTES)
# The tags of an attribute in a span, event and link; other fields have them, too.
_ATTRIBUTE_TAGS: Final = (b"\x4a", b"\x1a", b"\x22")
# Spans are checked at the depth at which readers find them.
_NO_SOURCE: Final = SpanOrigin.of(b"", "", b"", "")
# Resources with their scopes whose check is remembered, and how large each may be.
_SOURCES_MAX: Final = 1024
_SOURCE_BYTES_MAX: Final = 4096
# One that is not known takes 10 µs: thousands in a request are what columns are for.
_SOURCES_OF_REQUEST_MAX: Final = 256
# A resource, its schema, a scope, and its schema, as they came.
_RawSource = tuple[bytes, str, bytes, str]


class RequestPart(NamedTuple):
    """The spans of a tenant that belong to one partition, as a request. rows: their numbers in the batch"""

    tenant: str
    partition: int
    body: bytes
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class SmallRequests:
    """received: spans of each request; None for those that are not for this module
    parts: one for each tenant and partition; starts_ns: of each span
    """

    received: list[int | None]
    parts: list[RequestPart]
    starts_ns: list[int]


# Spans of a request that have one source: the request's number, the source, and the spans as they came.
_Run = tuple[int, SpanOrigin, list[bytes]]


class _Spans(NamedTuple):
    """Spans as protobuf writes them, without fields that OTLP does not define; of each its trace id and start."""

    fields: list[SpanField]
    trace_ids: list[bytes]
    starts_ns: list[int]

    def column(self) -> Any:
        """The trace ids as fixed-size binary."""
        ids = pa.py_buffer(b"".join(self.trace_ids))
        return pa.Array.from_buffers(pa.binary(_TRACE_ID_BYTES), len(self.trace_ids), [None, ids])


class _Part(NamedTuple):
    """What becomes a part: rows, and the spans of each source."""

    rows: list[int]
    spans: dict[SpanOrigin, list[SpanField]]


class SmallSplitter:
    """Splits requests that are small and need nothing repaired, cut or refused. Not thread-safe."""

    def __init__(self, attribute_bytes_max: int) -> None:
        """attribute_bytes_max: longer keys and values of attributes must be cut"""
        self._bytes_max = min(REQUEST_BYTES_MAX, attribute_bytes_max)
        self._raw = RawRequests()
        # As they came → as protobuf writes them; the large ones only during a batch.
        self._sources: dict[_RawSource, SpanOrigin] = {}
        self._large: dict[_RawSource, SpanOrigin] = {}

    def split(self, tenants: Sequence[str], bodies: Sequence[bytes], partitions: int) -> SmallRequests:
        """What a reader decodes of the parts is what `OtlpDecoder` makes of the requests. Those that are not small, or
        need more than that, are left to it.

        tenants: of each request
        """
        received: list[int | None] = [None] * len(bodies)
        runs: list[_Run] = []
        self._large.clear()
        for number, body in enumerate(bodies):
            found = self._runs(number, body) if len(body) <= self._bytes_max else None
            if found is not None:
                received[number] = sum([len(spans) for _, _, spans in found])
                runs += found
        spans = _checked([span for run in runs for span in run[2]])
        if spans is None:
            runs, spans = _readable(runs, received)
        targets = partitions_of(spans.column(), partitions).tolist()
        return SmallRequests(received, _parts(tenants, runs, spans.fields, targets), spans.starts_ns)

    def _runs(self, number: int, body: bytes) -> list[_Run] | None:
        """The spans of a request, which are not looked at; None if it is not for this module."""
        if len(body) > 2 * ATTRIBUTES_MAX and max(map(body.count, _ATTRIBUTE_TAGS)) > ATTRIBUTES_MAX:
            return None  # perhaps a span with too many attributes
        try:
            message = self._raw.parse(body)
        except DecodeError:
            return None
        runs: list[_Run] = []
        for resource_spans in message.resource_spans:
            resource, resource_url = resource_spans.resource, resource_spans.schema_url
            for scope_spans in resource_spans.scope_spans:
                raw = resource, resource_url, scope_spans.scope, scope_spans.schema_url
                source = self._sources.get(raw) or self._source(raw)
                if source is None or len(runs) >= _SOURCES_OF_REQUEST_MAX:
                    return None
                runs.append((number, source, list(scope_spans.spans)))
        return runs

    def _source(self, raw: _RawSource) -> SpanOrigin | None:
        """A source that is not known yet; None if its resource or scope cannot be read, or is too large."""
        found = self._large.get(raw)
        if found is not None:
            return found
        found = _read(raw)
        if found is None:
            return None
        if sum(map(len, raw)) > _SOURCE_BYTES_MAX:
            self._large[raw] = found
            return found
        if len(self._sources) >= _SOURCES_MAX:
            self._sources.clear()
        self._sources[raw] = found
        return found


def _read(raw: _RawSource) -> SpanOrigin | None:
    """A source without fields that OTLP does not define; None if its resource or scope cannot be read where readers
    find them, or has too many attributes.
    """
    try:
        message = ExportTraceServiceRequest.FromString(request_of({SpanOrigin.of(*raw): []}))
    except DecodeError:
        return None
    message.DiscardUnknownFields()
    (resource_spans,) = message.resource_spans
    resource, scope = resource_spans.resource, resource_spans.scope_spans[0].scope
    if max(len(resource.attributes), len(scope.attributes)) > RESOURCE_ATTRIBUTES_MAX:
        return None
    _, resource_url, _, scope_url = raw
    return SpanOrigin.of(resource.SerializeToString(), resource_url, scope.SerializeToString(), scope_url)


def _checked(bodies: Sequence[bytes]) -> _Spans | None:
    """Spans that all have valid ids and can be read; None if any cannot.

    Protobuf refuses what would harm ptars, texts that are not UTF-8, and values that are nested too deeply to be
    read. It takes fields of a wrong type for unknown ones, and ptars refuses them: they are left out.
    """
    fields = span_fields(bodies)
    raw = request_of({_NO_SOURCE: fields})
    try:
        message = ExportTraceServiceRequest.FromString(raw)
    except DecodeError:
        return None
    message.DiscardUnknownFields()
    spans = list(message.resource_spans[0].scope_spans[0].spans)
    trace_ids = [span.trace_id for span in spans]
    span_ids = [span.span_id for span in spans]
    lengths = {*map(len, trace_ids)} <= {_TRACE_ID_BYTES} and {*map(len, span_ids)} <= {_SPAN_ID_BYTES}
    if not lengths or _NO_TRACE in trace_ids or _NO_SPAN in span_ids:
        return None
    if message.SerializeToString() != raw:
        fields = span_fields([span.SerializeToString() for span in spans])
    return _Spans(fields, trace_ids, _signed([span.start_time_unix_nano for span in spans]))


def _readable(runs: Sequence[_Run], received: list[int | None]) -> tuple[list[_Run], _Spans]:
    """Only the requests whose spans are all in order, each looked at alone; `received` is None for the others."""
    of_request: dict[int, list[_Run]] = {}
    for run in runs:
        of_request.setdefault(run[0], []).append(run)
    kept: list[_Run] = []
    spans: list[_Spans] = []
    for number, mine in of_request.items():
        checked = _checked([span for run in mine for span in run[2]])
        if checked is None:
            received[number] = None
        else:
            kept += mine
            spans.append(checked)
    return kept, _Spans(
        [field for one in spans for field in one.fields],
        [trace_id for one in spans for trace_id in one.trace_ids],
        [start_ns for one in spans for start_ns in one.starts_ns],
    )


def _signed(starts_ns: list[int]) -> list[int]:
    """Times as an int64 column holds them: 2^63 and more as negative numbers."""
    if starts_ns and max(starts_ns) >> 63:
        starts_ns = np.array(starts_ns, np.uint64).view(np.int64).tolist()
    return starts_ns


def _parts(
    tenants: Sequence[str], runs: Iterable[_Run], spans: Sequence[SpanField], targets: list[int]
) -> list[RequestPart]:
    """targets: the partition of each span"""
    parts: dict[tuple[str, int], _Part] = {}
    at = 0
    for request, source, bodies in runs:
        tenant, end = tenants[request], at + len(bodies)
        mine = targets[at:end]
        # Mostly of one trace, and so of one partition.
        together = not mine or mine.count(mine[0]) == len(mine)
        for target in mine[:1] if together else {*mine}:
            part = parts.get((tenant, target))
            if part is None:
                part = parts[tenant, target] = _Part([], {})
            fields = part.spans.get(source)
            if fields is None:
                fields = part.spans[source] = []
            if together:
                part.rows.extend(range(at, end))
                fields += spans[at:end]
                continue
            rows = [row for row in range(at, end) if targets[row] == target]
            part.rows.extend(rows)
            fields += [spans[row] for row in rows]
        at = end
    return [RequestPart(tenant, target, request_of(part.spans), part.rows) for (tenant, target), part in parts.items()]
