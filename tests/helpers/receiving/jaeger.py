"""Messages of Jaeger's clients, made with the encoders of their libraries."""

import struct
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from tables.wire import thrift_structs
from tables.wire.jaeger import jaeger_pb2
from tables.wire.jaeger.thrift import BATCH, EMIT_BATCH, LOG, PROCESS, SPAN, SPAN_REF, TAG
from tables.wire.thrift_structs import Encoding

_PROTOCOLS: Final = {"binary": TBinaryProtocolAccelerated, "compact": TCompactProtocolAccelerated}
NS: Final = 1_000


def made(kind: Any, **fields: Any) -> Any:
    """A struct with these fields."""
    found = kind()
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def encoded(message: Any, encoding: Encoding) -> bytes:
    """A struct as bytes."""
    buffer = TMemoryBuffer()
    protocol = _PROTOCOLS[encoding](buffer)
    buffer.write(protocol._fast_encode(message, thrift_structs._SPECS[type(message)]))
    return bytes(buffer.getvalue())


def datagram(batch: Any, encoding: Encoding) -> bytes:
    """A call of an agent's emitBatch."""
    buffer = TMemoryBuffer()
    protocol = _PROTOCOLS[encoding](buffer)
    protocol.writeMessageBegin("emitBatch", TMessageType.ONEWAY, 1)
    buffer.write(encoded(made(EMIT_BATCH, batch=batch), encoding))
    protocol.writeMessageEnd()
    return bytes(buffer.getvalue())


def tag(key: str, value: str | bool | float | bytes) -> Any:
    """A tag of the value's type."""
    name = key.encode()
    if isinstance(value, str):
        return made(TAG, key=name, type=0, text=value.encode())
    if isinstance(value, bool):
        return made(TAG, key=name, type=2, bool=value)
    if isinstance(value, int):
        return made(TAG, key=name, type=3, long=value)
    if isinstance(value, float):
        return made(TAG, key=name, type=1, double=value)
    return made(TAG, key=name, type=4, binary=value)


def span(number: int = 1, **fields: Any) -> Any:
    """A span of trace 1, with number as its id."""
    defaults = {
        "trace_id_low": 1,
        "trace_id_high": 0,
        "span_id": number,
        "parent_span_id": 0,
        "name": b"GET /",
        "references": [],
        "flags": 1,
        "start_us": 1_700_000_000_000_000,
        "duration_us": 1_500,
        "tags": [],
        "logs": [],
    }
    return made(SPAN, **(defaults | fields))


def batch(*spans: Any, service: str = "shop", tags: Any = ()) -> Any:
    """A batch of one process."""
    process = made(PROCESS, service_name=service.encode(), tags=list(tags))
    return made(BATCH, process=process, spans=list(spans))


def reference(kind: int, trace_low: int, span_id: int) -> Any:
    """A reference. kind: 0 CHILD_OF, 1 FOLLOWS_FROM"""
    return made(SPAN_REF, type=kind, trace_id_low=trace_low, trace_id_high=0, span_id=span_id)


def log(time_us: int, *fields: Any) -> Any:
    """A log of a span."""
    return made(LOG, timestamp_us=time_us, fields=list(fields))


def id8(number: int) -> bytes:
    """A span id."""
    return struct.pack(">q", number)


def id16(number: int) -> bytes:
    """A trace id."""
    return struct.pack(">qq", 0, number)


def batches(encoding: Encoding) -> list[bytes]:
    """Requests over HTTP."""
    full = span(
        7,
        parent_span_id=3,
        tags=[tag("s", "text"), tag("b", True), tag("i", -5), tag("d", 0.5), tag("x", b"\0\xff"), tag("error", True)],
        logs=[log(1_700_000_000_000_100, tag("event", "retry"), tag("n", 2))],
        references=[reference(0, 1, 3), reference(1, 9, 8)],
    )
    return [encoded(batch(full, span(8), tags=[tag("hostname", "a1")]), encoding), encoded(batch(), encoding)]


def datagrams(encoding: Encoding) -> list[bytes]:
    """Calls of an agent."""
    return [datagram(batch(span(1, tags=[tag("k", "v")]), span(2)), encoding)]


def posted() -> list[bytes]:
    """Requests over gRPC."""
    process = jaeger_pb2.Process(service_name=b"shop", tags=[jaeger_pb2.KeyValue(key=b"zone", v_str=b"b")])
    message = jaeger_pb2.PostSpansRequest(batch=jaeger_pb2.Batch(spans=single_spans(), process=process))
    return [bytes(message.SerializeToString())]


def single_spans() -> list[bytes]:
    """Messages of Jaeger's Kafka topic."""
    tags = [jaeger_pb2.KeyValue(key=b"s", v_str=b"t"), jaeger_pb2.KeyValue(key=b"i", v_type=2, v_int64=-1)]
    one = jaeger_pb2.Span(
        trace_id=b"\1" * 16,
        span_id=b"\2" * 8,
        operation_name=b"op",
        references=[jaeger_pb2.SpanRef(trace_id=b"\1" * 16, span_id=b"\3" * 8)],
        start_time=Timestamp(seconds=5, nanos=7),
        duration=Duration(nanos=9),
        tags=tags,
        logs=[jaeger_pb2.Log(timestamp=Timestamp(seconds=6), fields=tags)],
        process=jaeger_pb2.Process(service_name=b"own"),
    )
    return [bytes(one.SerializeToString())]
