"""Jaeger's Thrift messages → OTLP requests: a batch, as HTTP has it, and a call of an agent, as UDP has it.

Source: jaeger-idl, thrift/jaeger.thrift and agent.thrift
"""

import struct as binary
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, Final, TypeAlias

from tables.errors import WireError
from tables.units import NS_PER_US
from tables.wire.jaeger.translate import NO_ID, JaegerSpan, Log, Reference, resource, translate
from tables.wire.otlp.encode import Binary, KeyValue, RequestEncoder, Scope, Value
from tables.wire.span_parts import USUAL_PARTS_MAX, check_parts
from tables.wire.thrift_structs import (
    BOOL,
    DOUBLE,
    I32,
    I64,
    LIST,
    STRUCT,
    Encoding,
    ThriftField,
    ThriftMessage,
    struct,
)
from tables.wire.usual import Unusual

TAG: Final = struct(
    "Tag",
    ThriftField(1, "key", bytes),
    ThriftField(2, "type", I32),
    ThriftField(3, "text", bytes),
    ThriftField(4, "double", DOUBLE),
    ThriftField(5, "bool", BOOL),
    ThriftField(6, "long", I64),
    ThriftField(7, "binary", bytes),
)
LOG: Final = struct("Log", ThriftField(1, "timestamp_us", I64), ThriftField(2, "fields", [TAG]))
SPAN_REF: Final = struct(
    "SpanRef",
    ThriftField(1, "type", I32),
    ThriftField(2, "trace_id_low", I64),
    ThriftField(3, "trace_id_high", I64),
    ThriftField(4, "span_id", I64),
)
SPAN: Final = struct(
    "Span",
    ThriftField(1, "trace_id_low", I64),
    ThriftField(2, "trace_id_high", I64),
    ThriftField(3, "span_id", I64),
    ThriftField(4, "parent_span_id", I64),
    ThriftField(5, "name", bytes),
    ThriftField(6, "references", [SPAN_REF]),
    ThriftField(7, "flags", I32),
    ThriftField(8, "start_us", I64),
    ThriftField(9, "duration_us", I64),
    ThriftField(10, "tags", [TAG]),
    ThriftField(11, "logs", [LOG]),
)
PROCESS: Final = struct("Process", ThriftField(1, "service_name", bytes), ThriftField(2, "tags", [TAG]))
BATCH: Final = struct("Batch", ThriftField(1, "process", PROCESS), ThriftField(2, "spans", [SPAN]))
EMIT_BATCH: Final = struct("EmitBatch", ThriftField(1, "batch", BATCH))
_PROCESS, _SPANS = 1, 2  # fields of a Batch
# Larger ones are read span by span, which takes a fifth longer.
_AT_ONCE_BYTES_MAX: Final = 64 << 10

# The span as OTLP's message, and its scope.
_Translated: TypeAlias = tuple[Scope, bytes]

_I64: Final = binary.Struct(">q").pack
_TRACE_ID: Final = binary.Struct(">qq").pack


def batch_to_otlp(data: bytes, encoding: Encoding) -> bytes:
    """An ExportTraceServiceRequest with the spans of a Batch. Raises: WireError"""
    message = ThriftMessage(data, encoding)
    if len(data) <= _AT_ONCE_BYTES_MAX:
        return _batch_to_otlp(message.struct(BATCH))
    process, spans = None, list[_Translated]()
    for number, kind in message.fields():
        if (number, kind) == (_PROCESS, STRUCT):
            process = message.struct(PROCESS)
        elif (number, kind) == (_SPANS, LIST):
            spans += _translated(message.structs(SPAN))
        else:
            message.skip(kind)
    return _request(process, spans)


def usual_batch_to_otlp(data: bytes, encoding: Encoding) -> bytes:
    """The same of a batch with as few parts as clients usually send. Raises: WireError, Unusual"""
    batch = ThriftMessage(data, encoding).struct(BATCH)
    spans = batch.spans or ()
    if len(spans) > USUAL_PARTS_MAX or sum(map(_parts, spans)) > USUAL_PARTS_MAX:
        raise Unusual
    return _batch_to_otlp(batch)


def _parts(span: Any) -> int:
    return 1 + len(span.logs or ()) + len(span.references or ())


def datagram_to_otlp(data: bytes, encoding: Encoding) -> bytes:
    """An ExportTraceServiceRequest with the spans of an agent's call emitBatch. Raises: WireError"""
    message = ThriftMessage(data, encoding)
    message.call("emitBatch")
    batch = message.struct(EMIT_BATCH).batch
    if batch is None:
        raise WireError("the Thrift call emitBatch has no batch")
    return _batch_to_otlp(batch)


def _batch_to_otlp(batch: Any) -> bytes:
    return _request(batch.process, _translated(batch.spans or ()))


def _translated(spans: Iterable[Any]) -> Iterator[_Translated]:
    return (translate(_span(span, number)) for number, span in enumerate(spans))


def _request(process: Any, spans: Iterable[_Translated]) -> bytes:
    owner = [] if process is None else resource(process.service_name or b"", _tags(process.tags))
    encoder = RequestEncoder()
    for scope, encoded in spans:
        encoder.spans_of(owner, scope).append(encoded)
    return encoder.encode()


def _span(span: Any, number: int) -> JaegerSpan:
    """Raises: WireError where an id, a time or a key is missing, which the IDL requires: without them a part of a span
    is a byte, and what is made of it takes a thousand times as long as of other bytes
    """
    references, logs = span.references, span.logs
    if span.trace_id_low is None or span.span_id is None:
        raise WireError(f"spans[{number}] has no trace id or no span id")
    check_parts(f"spans[{number}]", references, logs, span.tags)
    return JaegerSpan(
        _TRACE_ID(span.trace_id_high or 0, span.trace_id_low),
        _I64(span.span_id),
        _I64(span.parent_span_id) if span.parent_span_id else NO_ID,
        span.name or b"",
        [_reference(one, number) for one in references] if references else (),
        span.flags or 0,
        (span.start_us or 0) * NS_PER_US,
        (span.duration_us or 0) * NS_PER_US,
        _tags(span.tags),
        [_log(one, number) for one in logs] if logs else (),
    )


def _reference(one: Any, number: int) -> Reference:
    if one.trace_id_low is None or one.span_id is None:
        raise WireError(f"a reference of spans[{number}] has no trace id or no span id")
    return Reference(one.type or 0, _TRACE_ID(one.trace_id_high or 0, one.trace_id_low), _I64(one.span_id))


def _log(one: Any, number: int) -> Log:
    if one.timestamp_us is None:
        raise WireError(f"a log of spans[{number}] has no timestamp")
    return Log(one.timestamp_us * NS_PER_US, _tags(one.fields))


_KEY: Final = attrgetter("key")

# By the number that a tag says its type is, but for 0, texts.
_VALUES: Final[list[Callable[[Any], Value | None]]] = [
    lambda tag: tag.text,
    lambda tag: tag.double,
    lambda tag: None if tag.bool is None else bool(tag.bool),
    lambda tag: tag.long,
    lambda tag: None if tag.binary is None else Binary(tag.binary),
]


def _tags(tags: Any) -> list[KeyValue]:
    """A tag without the value that its type announces has an empty text. Raises: WireError for one without a key"""
    tags = tags or ()
    if None in map(_KEY, tags):
        raise WireError("a tag has no key")
    return [(tag.key, _value(tag) if tag.type else tag.text or b"") for tag in tags]


def _value(tag: Any) -> Value:
    kind = tag.type
    if not 0 <= kind < len(_VALUES):
        return b"<unknown Jaeger tag type %d>" % kind
    value = _VALUES[kind](tag)
    return b"" if value is None else value
