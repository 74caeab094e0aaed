"""Messages of Zipkin's clients."""

import json
from typing import Any

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.Thrift import TType
from thrift.transport.TTransport import TMemoryBuffer

from tables.wire.zipkin import zipkin_pb2
from tables.wire.zipkin.thrift import ANNOTATION, BINARY_ANNOTATION, ENDPOINT, SPAN
from tests.helpers.receiving.jaeger import encoded, made

START_US = 1_700_000_000_000_000
FULL = {
    "traceId": "463ac35c9f6413ad48485a3953bb6124",
    "parentId": "6b221d5bc9e6496c",
    "id": "5b4185666d50f68b",
    "kind": "CLIENT",
    "name": "get",
    "timestamp": START_US,
    "duration": 207_000,
    "localEndpoint": {"serviceName": "frontend", "ipv4": "127.0.0.1", "port": 80},
    "remoteEndpoint": {"serviceName": "backend", "ipv6": "2001:db8::1", "port": 9000},
    "annotations": [{"timestamp": START_US + 5, "value": "wire send"}],
    "tags": {"http.path": "/api", "clnt/finagle.version": "6.45.0"},
    "debug": True,
    "shared": True,
}


def full_protobuf() -> bytes:
    span = zipkin_pb2.Span(
        trace_id=bytes.fromhex(FULL["traceId"]),  # type: ignore[arg-type]
        parent_id=bytes.fromhex(FULL["parentId"]),  # type: ignore[arg-type]
        id=bytes.fromhex(FULL["id"]),  # type: ignore[arg-type]
        kind=1,
        name=b"get",
        timestamp=START_US,
        duration=207_000,
        local_endpoint=zipkin_pb2.Endpoint(service_name=b"frontend", ipv4=b"\x7f\0\0\1", port=80),
        remote_endpoint=zipkin_pb2.Endpoint(
            service_name=b"backend", ipv6=bytes.fromhex("20010db8000000000000000000000001"), port=9000
        ),
        annotations=[zipkin_pb2.Annotation(timestamp=START_US + 5, value=b"wire send")],
        tags=[
            zipkin_pb2.Tag(key=b"http.path", value=b"/api"),
            zipkin_pb2.Tag(key=b"clnt/finagle.version", value=b"6.45.0"),
        ],
        debug=True,
        shared=True,
    )
    return bytes(zipkin_pb2.ListOfSpans(spans=[span.SerializeToString()]).SerializeToString())


def host(service: str) -> dict[str, Any]:
    return {"serviceName": service, "ipv4": "10.0.0.1", "port": 8080}


VERSION1 = {
    "traceId": "5af7183fb1d4cf5f",
    "id": "352bff9a74ca9ad2",
    "parentId": "6b221d5bc9e6496c",
    "name": "get",
    "annotations": [
        {"timestamp": START_US, "value": "cs", "endpoint": host("a")},
        {"timestamp": START_US + 100, "value": "cr", "endpoint": host("a")},
        {"timestamp": START_US + 20, "value": "sr", "endpoint": host("b")},
        {"timestamp": START_US + 80, "value": "ss", "endpoint": host("b")},
        {"timestamp": START_US + 50, "value": "cache miss", "endpoint": host("b")},
    ],
    "binaryAnnotations": [
        {"key": "http.path", "value": "/x", "endpoint": host("a")},
        {"key": "sa", "value": True, "endpoint": {"serviceName": "b", "ipv4": "10.0.0.2"}},
    ],
}


def version1_thrift() -> bytes:
    def at(service: str, ipv4: int = 0x0A000001, port: int = 8080) -> Any:
        return made(ENDPOINT, service_name=service.encode(), ipv4=ipv4, port=port)

    marks = [(0, "cs", "a"), (100, "cr", "a"), (20, "sr", "b"), (80, "ss", "b"), (50, "cache miss", "b")]
    span = made(
        SPAN,
        trace_id=0x5AF7183FB1D4CF5F,
        id=0x352BFF9A74CA9AD2,
        parent_id=0x6B221D5BC9E6496C,
        name=b"get",
        annotations=[
            made(ANNOTATION, timestamp_us=START_US + us, value=value.encode(), host=at(service))
            for us, value, service in marks
        ],
        binary_annotations=[
            made(BINARY_ANNOTATION, key=b"http.path", value=b"/x", type=6, host=at("a")),
            made(BINARY_ANNOTATION, key=b"sa", value=b"\1", type=0, host=at("b", 0x0A000002, 0)),
        ],
    )
    buffer = TMemoryBuffer()
    TBinaryProtocolAccelerated(buffer).writeListBegin(TType.STRUCT, 1)
    return bytes(buffer.getvalue()) + encoded(span, "binary")


def version2() -> list[bytes]:
    """Requests of version 2 in JSON."""
    return [json.dumps([FULL]).encode(), json.dumps([FULL, {"traceId": "1", "id": "2"}]).encode()]


def version1() -> list[bytes]:
    """Requests of version 1 in JSON."""
    return [json.dumps([VERSION1]).encode()]


def protobuf() -> list[bytes]:
    """Requests of version 2 in protobuf."""
    return [full_protobuf()]


def thrift() -> list[bytes]:
    """Requests of version 1 in Thrift."""
    return [version1_thrift()]
