"""Messages of Jaeger's clients, made with the encoders of their libraries."""

import struct
from typing import Any, Final

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TCompactProtocol import TCompactProtocolAccelerated
from thrift.Thrift import TMessageType
from thrift.transport.TTransport import TMemoryBuffer

from tables.wire import thrift_structs
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
