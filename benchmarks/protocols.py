"""The protocols that `small` measures: where each is sent to, and a workload's requests in its encoding."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.encodings import as_jaeger, as_json, as_thrift, as_zipkin
from benchmarks.load import EXPORT
from benchmarks.workload import LENGTH, Requests
from tests.harness.cluster import Cluster

Message = Any


class Protocol(NamedTuple):
    """receiver: its name in `Cluster.receivers`; "" for OTLP's; path: of the HTTP request, or the gRPC method
    content_type: "": it is gRPC; encode: an OTLP request → bodies; None: the bytes as they are
    one_process: a body has the spans of one process, as clients send them that know no other
    """

    receiver: str
    path: str
    content_type: str = ""
    encode: Callable[[Message], list[bytes]] | None = None
    one_process: bool = False

    def address(self, cluster: Cluster) -> str:
        """HOST:PORT of its receiver."""
        if self.receiver:
            return cluster.receivers[self.receiver]
        return cluster.otlp_http_url.removeprefix("http://") if self.content_type else cluster.otlp_address


PROTOCOLS: Final = {
    "grpc": Protocol("", EXPORT),
    "http": Protocol("", "/v1/traces", "application/x-protobuf"),
    "json": Protocol("", "/v1/traces", "application/json", as_json),
    "jaeger-grpc": Protocol(
        "jaeger_grpc", "/jaeger.api_v2.CollectorService/PostSpans", encode=as_jaeger, one_process=True
    ),
    "jaeger-thrift": Protocol("jaeger_http", "/api/traces", "application/x-thrift", as_thrift, one_process=True),
    "zipkin-json": Protocol("zipkin", "/api/v2/spans", "application/json", as_zipkin, one_process=True),
}


def encoded(file: Path, out: Path, protocol: Protocol, spans_per_request: int) -> Path:
    """A workload's file in a protocol's encoding, as a file of the same kind; the file itself if it is that already."""
    if protocol.encode is None:
        return file
    requests: Iterable[Message] = (ExportTraceServiceRequest.FromString(body) for body in Requests(file))
    if protocol.one_process:
        requests = by_process(requests, spans_per_request)
    with out.open("wb") as target:
        for request in requests:
            for body in protocol.encode(request):
                target.write(LENGTH.pack(len(body)))
                target.write(body)
    return out


def by_process(requests: Iterable[Message], spans_per_request: int) -> Iterator[Message]:
    """The same spans in requests of one resource each, which are full but for the last one of each resource."""
    waiting: dict[bytes, Message] = {}
    for request in requests:
        for resource in request.resource_spans:
            kept = waiting.setdefault(resource.resource.SerializeToString(), ExportTraceServiceRequest())
            for scope, span in _spans(resource.scope_spans):
                if not kept.resource_spans:
                    kept.resource_spans.add(resource=resource.resource).scope_spans.add(scope=scope)
                into = kept.resource_spans[0].scope_spans[0].spans
                into.append(span)
                if len(into) == spans_per_request:
                    yield kept
                    kept.Clear()
    yield from (kept for kept in waiting.values() if kept.resource_spans)


def _spans(scopes: Sequence[Message]) -> Iterator[tuple[Message, Message]]:
    """Each span with its scope. None of the protocols has scopes, so that one for all is enough."""
    for scope in scopes:
        for span in scope.spans:
            yield scope.scope, span
