"""Small OTLP requests, split by partition as bytes: without columns, whose making costs milliseconds however few spans
there are.

A span costs some microseconds here, so this is for batches of some hundred at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.columns.types import Int64s
from tables.columns.varint import varint
from tables.wire.otlp.clean import RESOURCE_ATTRIBUTES_MAX
from tables.wire.otlp.limits import ATTRIBUTES_MAX
from tables.wire.split import partitions_of

# Larger ones are slow here.
REQUEST_BYTES_MAX: Final = 64 << 10
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_TRACE, _NO_SPAN = bytes(_TRACE_ID_BYTES), bytes(_SPAN_ID_BYTES)
# The tags of an attribute in a span, event and link; other fields have them, too.
_ATTRIBUTE_TAGS: Final = (b"\x4a", b"\x1a", b"\x22")
# The same in a resource, and in a scope.
_RESOURCE_ATTRIBUTE, _SCOPE_ATTRIBUTE = b"\x0a", b"\x1a"
_SPANS, _SCOPE_SPANS, _RESOURCE_SPANS = b"\x12", b"\x12", b"\x0a"


class RequestPart(NamedTuple):
    """The spans of a request that belong to one partition, as a request. rows: their numbers in the batch"""

    request: int
    partition: int
    body: bytes
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, eq=False)
class SmallRequests:
    """received: spans of each request; None for those that are not for this module
    starts_ns: of each span, shape (rows,)
    """

    received: list[int | None]
    parts: list[RequestPart]
    starts_ns: Int64s


class _Read(NamedTuple):
    request: int
    message: Any
    first: int
    end: int


def split_small(bodies: Sequence[bytes], partitions: int, attribute_bytes_max: int) -> SmallRequests:
    """Splits the requests that are small and need nothing repaired, cut or refused: what a reader decodes of the parts
    is what `OtlpDecoder` makes of the requests. The others are left to it.
    """
    bytes_max = min(REQUEST_BYTES_MAX, attribute_bytes_max)
    read: list[_Read] = []
    facts = _Facts([], [], [])
    for number, body in enumerate(bodies):
        message = _parsed(body) if len(body) <= bytes_max else None
        if message is not None:
            first = len(facts.starts)
            facts.add(message)
            read.append(_Read(number, message, first, len(facts.starts)))
    ids = facts.trace_id_column()
    if ids is None:
        read, facts = _with_valid_ids(read)
        ids = facts.trace_id_column()
        assert ids is not None, "the others are left out"
    received: list[int | None] = [None] * len(bodies)
    targets = partitions_of(ids, partitions).tolist()
    parts: list[RequestPart] = []
    for one in read:
        received[one.request] = one.end - one.first
        mine = targets[one.first : one.end]
        if not mine:
            continue
        if mine.count(mine[0]) == len(mine):
            parts.append(RequestPart(one.request, mine[0], one.message.SerializeToString(), range(one.first, one.end)))
        else:
            parts += _divided(one, mine)
    return SmallRequests(received, parts, np.array(facts.starts, np.uint64).view(np.int64))


def _parsed(body: bytes) -> Any:
    """The message without fields that OTLP does not define; None if it is not for this module.

    Protobuf refuses what would harm ptars, texts that are not UTF-8, and values that are nested too deeply to be read.
    It takes fields of a wrong type for unknown ones, and ptars refuses them: parts are what protobuf writes.
    """
    if len(body) > 2 * ATTRIBUTES_MAX and max(map(body.count, _ATTRIBUTE_TAGS)) > ATTRIBUTES_MAX:
        return None  # perhaps a span with too many attributes
    try:
        message = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        return None
    message.DiscardUnknownFields()
    most = 0
    if body.count(_RESOURCE_ATTRIBUTE) > RESOURCE_ATTRIBUTES_MAX:
        most = max([len(one.resource.attributes) for one in message.resource_spans], default=0)
    if body.count(_SCOPE_ATTRIBUTE) > RESOURCE_ATTRIBUTES_MAX:
        scopes = [one for resource in message.resource_spans for one in resource.scope_spans]
        most = max([most, *(len(one.scope.attributes) for one in scopes)])
    return message if most <= RESOURCE_ATTRIBUTES_MAX else None


def _with_valid_ids(read: Sequence[_Read]) -> "tuple[list[_Read], _Facts]":
    """Only the requests whose ids are all valid, and the facts of their spans."""
    kept: list[_Read] = []
    facts = _Facts([], [], [])
    for one in read:
        alone = _Facts([], [], [])
        alone.add(one.message)
        if alone.trace_id_column() is not None:
            first = len(facts.starts)
            facts.add(one.message)
            kept.append(one._replace(first=first, end=len(facts.starts)))
    return kept, facts


class _Facts(NamedTuple):
    """Of each span: its ids, and its start in unix nanoseconds."""

    trace_ids: list[bytes]
    span_ids: list[bytes]
    starts: list[int]

    def add(self, message: Any) -> None:
        """Adds the spans of a request."""
        trace_ids, span_ids, starts = self
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    trace_ids.append(span.trace_id)
                    span_ids.append(span.span_id)
                    starts.append(span.start_time_unix_nano)

    def trace_id_column(self) -> Any:
        """The trace ids as fixed-size binary; None if any id is of a wrong length, or zero."""
        lengths = {*map(len, self.trace_ids)} <= {_TRACE_ID_BYTES} and {*map(len, self.span_ids)} <= {_SPAN_ID_BYTES}
        if not lengths or _NO_TRACE in self.trace_ids or _NO_SPAN in self.span_ids:
            return None
        ids = pa.py_buffer(b"".join(self.trace_ids))
        return pa.Array.from_buffers(pa.binary(_TRACE_ID_BYTES), len(self.starts), [None, ids])


def _divided(one: _Read, targets: list[int]) -> list[RequestPart]:
    """The parts of a request whose spans belong to several partitions."""
    bodies: dict[int, list[bytes]] = {}
    rows: dict[int, list[int]] = {}
    at = 0
    for resource in one.message.resource_spans:
        end = at + sum([len(scope.spans) for scope in resource.scope_spans])
        mine = targets[at:end]
        if not mine:
            continue
        if mine.count(mine[0]) == len(mine):
            bodies.setdefault(mine[0], []).append(_field(_RESOURCE_SPANS, resource.SerializeToString()))
        else:
            for target, body in _divided_resource(resource, mine).items():
                bodies.setdefault(target, []).append(_field(_RESOURCE_SPANS, body))
        for row, target in enumerate(mine, one.first + at):
            rows.setdefault(target, []).append(row)
        at = end
    return [RequestPart(one.request, target, b"".join(bodies[target]), of_target) for target, of_target in rows.items()]


def _divided_resource(resource: Any, targets: list[int]) -> dict[int, bytes]:
    """The ResourceSpans of each target."""
    of_resource: dict[int, list[bytes]] = {}
    at = 0
    for scope in resource.scope_spans:
        of_scope: dict[int, list[bytes]] = {}
        for span in scope.spans:
            of_scope.setdefault(targets[at], []).append(_field(_SPANS, span.SerializeToString()))
            at += 1
        tail = _owner(scope, "scope")
        for target, spans in of_scope.items():
            of_resource.setdefault(target, []).append(_field(_SCOPE_SPANS, b"".join((*spans, tail))))
    tail = _owner(resource, "resource")
    return {target: b"".join((*scopes, tail)) for target, scopes in of_resource.items()}


def _owner(holder: Any, name: str) -> bytes:
    """The resource or scope of a list, and its schema."""
    owner = _field(b"\x0a", getattr(holder, name).SerializeToString()) if holder.HasField(name) else b""
    return owner + _field(b"\x1a", holder.schema_url.encode()) if holder.schema_url else owner


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content
