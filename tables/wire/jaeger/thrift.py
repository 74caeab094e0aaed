"""Jaeger's Thrift messages → OTLP requests: a batch, as HTTP has it, and a call of an agent, as UDP has it.

Source: jaeger-idl, thrift/jaeger.thrift and agent.thrift
"""

import struct as binary
from collections.abc import Callable
from typing import Any, Final

from tables.errors import WireError
from tables.units import NS_PER_US
from tables.wire.jaeger.translate import NO_ID, JaegerSpan, Log, Reference, resource, translate
from tables.wire.otlp.encode import Binary, KeyValue, RequestEncoder, Value
from tables.wire.thrift_structs import (
    BOOL,
    DOUBLE,
    I32,
    I64,
    Encoding,
    ThriftField,
    decode_call,
    decode_struct,
    struct,
)

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

_I64: Final = binary.Struct(">q").pack
_TRACE_ID: Final = binary.Struct(">qq").pack


def batch_to_otlp(data: bytes, encoding: Encoding) -> bytes:
    """An ExportTraceServiceRequest with the spans of a Batch. Raises: WireError"""
    return _to_otlp(decode_struct(BATCH, data, encoding))


def datagram_to_otlp(data: bytes, encoding: Encoding) -> bytes:
    """An ExportTraceServiceRequest with the spans of an agent's call emitBatch. Raises: WireError"""
    call = decode_call(EMIT_BATCH, data, encoding, ["emitBatch"])
    if call.batch is None:
        raise WireError("the Thrift call emitBatch has no batch")
    return _to_otlp(call.batch)


def _to_otlp(batch: Any) -> bytes:
    process = batch.process
    owner = [] if process is None else resource(process.service_name or b"", _tags(process.tags))
    encoder = RequestEncoder()
    for span in batch.spans or ():
        scope, encoded = translate(_span(span))
        encoder.spans_of(owner, scope).append(encoded)
    return encoder.encode()


def _span(span: Any) -> JaegerSpan:
    references, logs = span.references, span.logs
    return JaegerSpan(
        _TRACE_ID(span.trace_id_high or 0, span.trace_id_low or 0),
        _I64(span.span_id or 0),
        _I64(span.parent_span_id) if span.parent_span_id else NO_ID,
        span.name or b"",
        [_reference(one) for one in references] if references else (),
        span.flags or 0,
        (span.start_us or 0) * NS_PER_US,
        (span.duration_us or 0) * NS_PER_US,
        _tags(span.tags),
        [Log((log.timestamp_us or 0) * NS_PER_US, _tags(log.fields)) for log in logs] if logs else (),
    )


def _reference(one: Any) -> Reference:
    return Reference(one.type or 0, _TRACE_ID(one.trace_id_high or 0, one.trace_id_low or 0), _I64(one.span_id or 0))


# By the number that a tag says its type is, but for 0, texts.
_VALUES: Final[list[Callable[[Any], Value | None]]] = [
    lambda tag: tag.text,
    lambda tag: tag.double,
    lambda tag: None if tag.bool is None else bool(tag.bool),
    lambda tag: tag.long,
    lambda tag: None if tag.binary is None else Binary(tag.binary),
]


def _tags(tags: Any) -> list[KeyValue]:
    """A tag without the value that its type announces has an empty text."""
    return [(tag.key or b"", _value(tag) if tag.type else tag.text or b"") for tag in tags or ()]


def _value(tag: Any) -> Value:
    kind = tag.type
    if not 0 <= kind < len(_VALUES):
        return b"<unknown Jaeger tag type %d>" % kind
    value = _VALUES[kind](tag)
    return b"" if value is None else value
