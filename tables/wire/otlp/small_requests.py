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

from tables.columns.types import Int64s
from tables.wire.otlp.clean import RESOURCE_ATTRIBUTES_MAX
from tables.wire.otlp.limits import ATTRIBUTES_MAX
from tables.wire.otlp.raw_requests import RawRequests, Source
from tables.wire.split import partitions_of

# Larger ones are slow here.
REQUEST_BYTES_MAX: Final = 64 << 10
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_TRACE, _NO_SPAN = bytes(_TRACE_ID_BYTES), bytes(_SPAN_ID_BYTES)
# The tags of an attribute in a span, event and link; other fields have them, too.
_ATTRIBUTE_TAGS: Final = (b"\x4a", b"\x1a", b"\x22")
# Spans are checked at the depth at which readers find them.
_NO_SOURCE: Final = (b"", "", b"", "")
# Resources and scopes whose check is remembered, and how large each may be.
_OWNERS_MAX: Final = 1024
_OWNER_BYTES_MAX: Final = 4096


class RequestPart(NamedTuple):
    """The spans of a tenant that belong to one partition, as a request. rows: their numbers in the batch"""

    tenant: str
    partition: int
    body: bytes
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class SmallRequests:
    """received: spans of each request; None for those that are not for this module
    parts: one for each tenant and partition; starts_ns: of each span, shape (rows,)
    """

    received: list[int | None]
    parts: list[RequestPart]
    starts_ns: Int64s


class _Run(NamedTuple):
    """Spans of a request that have one source."""

    request: int
    source: Source
    spans: Sequence[bytes]


class _Spans(NamedTuple):
    """Spans as protobuf writes them, without fields that OTLP does not define; of each its trace id and start."""

    bodies: Sequence[bytes]
    trace_ids: list[bytes]
    starts: list[int]

    def column(self) -> Any:
        """The trace ids as fixed-size binary."""
        ids = pa.py_buffer(b"".join(self.trace_ids))
        return pa.Array.from_buffers(pa.binary(_TRACE_ID_BYTES), len(self.trace_ids), [None, ids])


class _Part(NamedTuple):
    """What becomes a part: rows, and the spans of each source."""

    rows: list[int]
    spans: dict[Source, list[bytes]]


class SmallSplitter:
    """Splits requests that are small and need nothing repaired, cut or refused. Not thread-safe."""

    def __init__(self, attribute_bytes_max: int) -> None:
        """attribute_bytes_max: longer keys and values of attributes must be cut"""
        self._bytes_max = min(REQUEST_BYTES_MAX, attribute_bytes_max)
        self._raw = RawRequests()
        # As they came → as protobuf writes them.
        self._owners: dict[tuple[str, bytes], bytes] = {}

    def split(self, tenants: Sequence[str], bodies: Sequence[bytes], partitions: int) -> SmallRequests:
        """What a reader decodes of the parts is what `OtlpDecoder` makes of the requests. Those that are not small, or
        need more than that, are left to it.

        tenants: of each request
        """
        received: list[int | None] = [None] * len(bodies)
        runs: list[_Run] = []
        for number, body in enumerate(bodies):
            found = self._runs(number, body) if len(body) <= self._bytes_max else None
            if found is not None:
                received[number] = sum([len(run.spans) for run in found])
                runs += found
        spans = self._checked([span for run in runs for span in run.spans])
        if spans is None:
            runs, spans = self._readable(runs, received)
        targets = partitions_of(spans.column(), partitions).tolist()
        starts_ns = np.array(spans.starts, np.uint64).view(np.int64)
        return SmallRequests(received, self._parts(tenants, runs, spans.bodies, targets), starts_ns)

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
            resource = self._owner("resource", resource_spans.resource)
            if resource is None:
                return None
            for scope_spans in resource_spans.scope_spans:
                scope = self._owner("scope", scope_spans.scope)
                if scope is None:
                    return None
                source = resource, resource_spans.schema_url, scope, scope_spans.schema_url
                runs.append(_Run(number, source, list(scope_spans.spans)))
        return runs

    def _owner(self, kind: str, raw: bytes) -> bytes | None:
        """A resource or scope without fields that OTLP does not define; None if it cannot be read, or is too large."""
        if not raw:
            return raw
        found = self._owners.get((kind, raw))
        if found is not None:
            return found
        try:
            source = (raw, "", b"", "") if kind == "resource" else (b"", "", raw, "")
            message = ExportTraceServiceRequest.FromString(self._raw.request({source: []}))
        except DecodeError:
            return None
        message.DiscardUnknownFields()
        (resource_spans,) = message.resource_spans
        owner: Any = resource_spans.resource if kind == "resource" else resource_spans.scope_spans[0].scope
        if len(owner.attributes) > RESOURCE_ATTRIBUTES_MAX:
            return None
        written = bytes(owner.SerializeToString())
        if len(raw) <= _OWNER_BYTES_MAX:
            if len(self._owners) >= _OWNERS_MAX:
                self._owners.clear()
            self._owners[kind, raw] = written
        return written

    def _checked(self, bodies: Sequence[bytes]) -> _Spans | None:
        """Spans that all have valid ids and can be read; None if any cannot.

        Protobuf refuses what would harm ptars, texts that are not UTF-8, and values that are nested too deeply to be
        read. It takes fields of a wrong type for unknown ones, and ptars refuses them: they are left out.
        """
        raw = self._raw.request({_NO_SOURCE: bodies})
        try:
            message = ExportTraceServiceRequest.FromString(raw)
        except DecodeError:
            return None
        message.DiscardUnknownFields()
        spans = message.resource_spans[0].scope_spans[0].spans
        read = [(span.trace_id, span.span_id, span.start_time_unix_nano) for span in spans]
        trace_ids, span_ids, starts = map(list, zip(*read, strict=True)) if read else ([], [], [])
        lengths = {*map(len, trace_ids)} <= {_TRACE_ID_BYTES} and {*map(len, span_ids)} <= {_SPAN_ID_BYTES}
        if not lengths or _NO_TRACE in trace_ids or _NO_SPAN in span_ids:
            return None
        if message.SerializeToString() != raw:
            bodies = [span.SerializeToString() for span in spans]
        return _Spans(bodies, trace_ids, starts)

    def _readable(self, runs: Sequence[_Run], received: list[int | None]) -> tuple[list[_Run], _Spans]:
        """Only the requests whose spans are all in order, each looked at alone; `received` is None for the others."""
        of_request: dict[int, list[_Run]] = {}
        for run in runs:
            of_request.setdefault(run.request, []).append(run)
        kept: list[_Run] = []
        spans: list[_Spans] = []
        for number, mine in of_request.items():
            checked = self._checked([span for run in mine for span in run.spans])
            if checked is None:
                received[number] = None
            else:
                kept += mine
                spans.append(checked)
        return kept, _Spans(
            [body for one in spans for body in one.bodies],
            [trace_id for one in spans for trace_id in one.trace_ids],
            [start for one in spans for start in one.starts],
        )

    def _parts(
        self, tenants: Sequence[str], runs: Iterable[_Run], spans: Sequence[bytes], targets: list[int]
    ) -> list[RequestPart]:
        """targets: the partition of each span"""
        parts: dict[tuple[str, int], _Part] = {}
        # The lists of spans that have one tenant and source, by partition: a span's way to its own is one look.
        lists: dict[tuple[str, Source], dict[int, tuple[list[int], list[bytes]]]] = {}
        at = 0
        for run in runs:
            tenant = tenants[run.request]
            mine = lists.get((tenant, run.source))
            if mine is None:
                mine = lists[tenant, run.source] = {}
            for row in range(at, at + len(run.spans)):
                target = targets[row]
                found = mine.get(target)
                if found is None:
                    part = parts.get((tenant, target))
                    if part is None:
                        part = parts[tenant, target] = _Part([], {})
                    found = mine[target] = part.rows, part.spans.setdefault(run.source, [])
                found[0].append(row)
                found[1].append(spans[row])
            at += len(run.spans)
        return [
            RequestPart(tenant, target, self._raw.request(part.spans), part.rows)
            for (tenant, target), part in parts.items()
        ]
