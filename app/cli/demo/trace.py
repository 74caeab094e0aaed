"""Builds the spans of one trace: spans open and close like blocks of a program, by a simulated clock."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

INTERNAL: Final = Span.SPAN_KIND_INTERNAL
SERVER: Final = Span.SPAN_KIND_SERVER
CLIENT: Final = Span.SPAN_KIND_CLIENT
PRODUCER: Final = Span.SPAN_KIND_PRODUCER
CONSUMER: Final = Span.SPAN_KIND_CONSUMER

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.27.0"
FLAGS: Final = 0x101  # sampled; whether the parent is remote is known (it is not said to be)

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]
Kind: TypeAlias = "Span.SpanKind.ValueType"  # a string: the type exists for the type checker only


@dataclass(frozen=True, slots=True, eq=False)
class Pod:
    """One running instance of a service. `eq=False`: compared by identity, and usable as a dictionary key."""

    service: str
    port: int
    address: str
    resource: Resource
    scope: InstrumentationScope


Placed = tuple[Pod, Span]  # a span and where it ran


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a span, maybe of another trace."""

    trace_id: bytes
    span_id: bytes


class Failure(Exception):  # noqa: N818 (it happens to the shop, not to this program)
    """An error in the shop. It propagates through the open spans and marks them.

    kind: the type's name in the service's language
    http_status, grpc_status: what the caller gets; below 500 the HTTP server's span is not an error
    """

    def __init__(self, kind: str, message: str, *, http_status: int = 500, grpc_status: int = 13) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.http_status = http_status
        self.grpc_status = grpc_status
        self.recorded = False  # whether a span has its stack trace already


class Trace:
    """The spans of one trace, in the order in which they were opened."""

    def __init__(self, rng: Random, start_ns: int, slow: Mapping[str, float] | None = None) -> None:
        """slow: service → the factor by which its own work is slower than usual"""
        self.rng = rng
        self.now_ns = start_ns
        self.trace_id = rng.randbytes(16)
        self.spans: list[Placed] = []
        self._slow = slow or {}
        self._open: list[Placed] = []

    def spend(self, median_s: float, spread: float = 0.5) -> None:
        """Advances the clock in the innermost span: log-normal, as latencies are."""
        factor = self._slow.get(self._open[-1][0].service, 1.0) if self._slow and self._open else 1.0
        self.now_ns += int(median_s * 1e9 * factor * self.rng.lognormvariate(0.0, spread)) + 1

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        pod: Pod | None = None,
        links: Iterable[Link] = (),
    ) -> Iterator[Span]:
        """Opens a child of the innermost span, in `pod` or else in the same pod. Marks a Failure and passes it on."""
        parent_id = b""
        if self._open:
            parent_pod, parent = self._open[-1]
            pod, parent_id = pod or parent_pod, parent.span_id
        assert pod is not None, f"span {name!r} opens a trace and needs a pod"
        span = Span(
            trace_id=self.trace_id,
            span_id=self.rng.randbytes(8),
            parent_span_id=parent_id,
            flags=FLAGS,
            name=name,
            kind=kind,
            start_time_unix_nano=self.now_ns,
            attributes=key_values(attributes),
        )
        for link in links:
            span.links.add(trace_id=link.trace_id, span_id=link.span_id, flags=FLAGS)
        self.spans.append((pod, span))
        self._open.append((pod, span))
        try:
            yield span
        except Failure as failure:
            self._record(failure, span, pod)
            raise
        finally:
            span.end_time_unix_nano = self.now_ns
            self._open.pop()

    @contextmanager
    def call(self, pod: Pod, service: str, method: str, attributes: Attributes) -> Iterator[Span]:
        """A remote call: the client's span here, the server's span in `pod`, the network between them."""
        rpc: Attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        peer: Attributes = {
            "server.address": pod.service,
            "server.port": pod.port,
            "network.peer.address": pod.address,
            "network.type": "ipv4",
            "rpc.request.size": self.rng.randrange(40, 2_000),
        }
        name = f"{service}/{method}"
        with self.span(name, CLIENT, {**rpc, **peer}) as client:
            self.spend(0.0003)
            status = 0
            try:
                code: Attributes = {
                    "thread.id": self.rng.randrange(1, 65),
                    "code.function.name": f"{service.lower()}.Server.handle{method}",
                }
                with self.span(name, SERVER, {**rpc, **code, **attributes}, pod) as server:
                    try:
                        self.spend(0.0006)
                        yield server
                    except Failure as failure:
                        status = failure.grpc_status
                        raise
                    finally:
                        annotate(server, {"rpc.grpc.status_code": status})
            finally:
                self.spend(0.0003)
                annotate(client, {"rpc.grpc.status_code": status})

    @contextmanager
    def together(self) -> Iterator[Callable[[], None]]:
        """Parallel work: each call of the yielded function begins another branch at the same time."""
        start_ns = end_ns = self.now_ns

        def begin() -> None:
            nonlocal end_ns
            end_ns = max(end_ns, self.now_ns)
            self.now_ns = start_ns

        try:
            yield begin
        finally:
            self.now_ns = max(end_ns, self.now_ns)

    @contextmanager
    def aside(self, median_delay_s: float) -> Iterator[None]:
        """Work that begins later and for which nobody waits, such as a message's consumer."""
        resume_ns = self.now_ns
        self.spend(median_delay_s)
        try:
            yield
        finally:
            self.now_ns = resume_ns

    def event(self, name: str, attributes: Attributes) -> None:
        """Adds an event to the innermost span, now."""
        _, span = self._open[-1]
        span.events.add(time_unix_nano=self.now_ns, name=name, attributes=key_values(attributes))

    def _record(self, failure: Failure, span: Span, pod: Pod) -> None:
        """Marks a span that the failure passes through; the span where it began gets the stack trace."""
        if failure.http_status < 500 and span.kind == SERVER:
            return  # the caller's mistake is no error of the server
        span.status.code = Status.STATUS_CODE_ERROR
        span.status.message = failure.message
        if failure.recorded:
            return
        failure.recorded = True
        frames = "".join(
            f"\n    at {pod.service}.{name}:{self.rng.randrange(10, 400)}"
            for name in ("Handler.run", "Retry.attempt", "Pool.borrow", "Socket.read")
        )
        self.event(
            "exception",
            {
                "exception.type": failure.kind,
                "exception.message": failure.message,
                "exception.stacktrace": f"{failure.kind}: {failure.message}{frames}",
            },
        )


@contextmanager
def http_span(trace: Trace, name: str, kind: Kind, attributes: Attributes, pod: Pod | None = None) -> Iterator[Span]:
    """One side of an HTTP exchange; it ends with its status code."""
    with trace.span(name, kind, attributes, pod) as span:
        status = 200
        try:
            yield span
        except Failure as failure:
            status = failure.http_status
            raise
        finally:
            annotate(span, {"http.response.status_code": status})


def annotate(span: Span, attributes: Attributes) -> None:
    """Adds attributes that were unknown when the span opened."""
    span.attributes.extend(key_values(attributes))


def key_values(attributes: Attributes) -> list[KeyValue]:
    """OTLP's attributes; the Python type determines the OTLP type."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def any_value(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):  # before int: a bool is one
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def export_request(placed: Iterable[Placed]) -> ExportTraceServiceRequest:
    """One OTLP request: spans grouped by their pod, as a collector sends them."""
    by_pod: dict[Pod, list[Span]] = {}
    for pod, span in placed:
        by_pod.setdefault(pod, []).append(span)
    request = ExportTraceServiceRequest()
    for pod, spans in by_pod.items():
        of_pod = request.resource_spans.add(resource=pod.resource, schema_url=SCHEMA_URL)
        of_pod.scope_spans.add(scope=pod.scope, spans=spans)
    return request
