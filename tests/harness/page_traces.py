"""Traces that the trace view must show: an odd one, a hostile one, and two to compare. OTLP requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from app.cli.demo.trace import any_value
from tables.units import NS_PER_MS, NS_PER_US

ODD_ID: Final = bytes.fromhex("0dd0000000000000000000000000000d")
HOSTILE_ID: Final = bytes.fromhex("bad00000000000000000000000000bad")
GOOD_ID: Final = bytes.fromhex("600d000000000000000000000000600d")
SLOW_ID: Final = bytes.fromhex("510e000000000000000000000000510e")
# Where it is taken for HTML it runs. The place says which field it came from.
HOSTILE: Final = "</script><img src=x onerror=\"window.hacked='{0}'\"><b>{0}</b>"

CLIENT, SERVER, PRODUCER, INTERNAL = (
    Span.SPAN_KIND_CLIENT,
    Span.SPAN_KIND_SERVER,
    Span.SPAN_KIND_PRODUCER,
    Span.SPAN_KIND_INTERNAL,
)
Value = str | int | float | bool


@dataclass
class Request:
    """One OTLP request of one trace; times in ms from its start."""

    trace_id: bytes
    start_ns: int

    def __post_init__(self) -> None:
        self.message = ExportTraceServiceRequest()
        self._groups: dict[str, ResourceSpans] = {}
        self._count = 0

    def span(
        self,
        service: str,
        name: str,
        times_ms: tuple[float, float],
        parent: Span | bytes | None = None,
        attributes: Mapping[str, Value] | None = None,
        kind: "Span.SpanKind.ValueType" = INTERNAL,
    ) -> Span:
        """Another span. parent: a span, or the id of one that is not there"""
        group = self._groups.get(service)
        if group is None:
            group = self._groups[service] = self.message.resource_spans.add()
            group.resource.attributes.add(key="service.name").value.string_value = service
            group.resource.attributes.add(key="service.version").value.string_value = "1.4.2"
            group.scope_spans.add().scope.name = "shop.instrumentation"
        self._count += 1
        begin, end = (self.start_ns + round(time * NS_PER_MS) for time in times_ms)
        return group.scope_spans[0].spans.add(
            trace_id=self.trace_id,
            span_id=self.trace_id[:2] + self._count.to_bytes(6, "big"),
            parent_span_id=parent if isinstance(parent, bytes) else parent.span_id if parent else b"",
            name=name,
            kind=kind,
            start_time_unix_nano=begin,
            end_time_unix_nano=end,
            attributes=[_pair(key, value) for key, value in (attributes or {}).items()],
        )

    def serialized(self) -> bytes:
        return bytes(self.message.SerializeToString())


def _pair(key: str, value: Value) -> KeyValue:
    return KeyValue(key=key, value=any_value(value))


def fail(span: Span, message: str) -> Span:
    """The span has failed, and its event says how."""
    span.status.code = 2
    span.status.message = message
    event = span.events.add(time_unix_nano=span.end_time_unix_nano - 50 * NS_PER_US, name="exception")
    event.attributes.append(_pair("exception.type", "TimeoutError"))
    event.attributes.append(_pair("exception.message", message))
    return span


def odd_request(start_ns: int) -> bytes:
    """Two roots, spans without their parents, a circle, a clock that is behind, links, repeated siblings."""
    trace = Request(ODD_ID, start_ns)
    root = trace.span("storefront", "GET /basket", (0, 480), kind=SERVER, attributes={"http.route": "/basket"})
    call = trace.span("storefront", "POST /reserve", (20, 300), root, kind=CLIENT)
    # Its machine's clock is 12 ms behind.
    server = trace.span("stock", "POST /reserve", (8, 280), call, kind=SERVER)
    for number in range(12):
        at = 30 + number * 18.5
        select = trace.span(
            "stock", "SELECT books", (at, at + 9 + number % 3), server, {"db.system": "postgresql"}, CLIENT
        )
    fail(select, "canceling statement due to statement timeout")
    publish = trace.span("stock", "publish reserved", (282, 290), server, kind=PRODUCER)
    other = trace.span("mailer", "reserved process", (330, 470), kind=Span.SPAN_KIND_CONSUMER)
    other.links.add(trace_id=ODD_ID, span_id=publish.span_id)
    other.links.add(trace_id=GOOD_ID, span_id=GOOD_ID[:2] + (1).to_bytes(6, "big"))
    lost = bytes.fromhex("dead00000000beef")
    trace.span("pricing", "price books", (120, 180), lost, {"book.count": 3})
    trace.span("pricing", "convert currency", (150, 176), lost)
    first = trace.span("audit", "ping", (390, 400))
    second = trace.span("audit", "pong", (395, 399), first)
    first.parent_span_id = second.span_id
    return trace.serialized()


def hostile_request(start_ns: int) -> bytes:
    """Every text of a span is a script."""
    trace = Request(HOSTILE_ID, start_ns)
    root = trace.span(HOSTILE.format("service"), HOSTILE.format("name"), (0, 100))
    for number in range(6):
        span = trace.span(HOSTILE.format("service"), HOSTILE.format("child"), (5 + number, 80), root)
        span.trace_state = HOSTILE.format("state")
        span.attributes.append(_pair(HOSTILE.format("key"), HOSTILE.format("value")))
        span.attributes.append(_pair("url.full", "javascript:window.hacked='url'"))
    fail(root, HOSTILE.format("status"))
    root.events.add(time_unix_nano=start_ns + NS_PER_MS, name=HOSTILE.format("event")).attributes.append(
        _pair(HOSTILE.format("event key"), HOSTILE.format("event value"))
    )
    link = root.links.add(trace_id=GOOD_ID, span_id=bytes(7) + b"\x01", trace_state=HOSTILE.format("link state"))
    link.attributes.append(_pair(HOSTILE.format("link key"), HOSTILE.format("link value")))
    group = trace.message.resource_spans[0]
    group.resource.attributes.append(_pair(HOSTILE.format("resource key"), HOSTILE.format("resource value")))
    group.schema_url = HOSTILE.format("schema")
    scope = group.scope_spans[0].scope
    scope.name, scope.version = HOSTILE.format("scope"), HOSTILE.format("version")
    scope.attributes.append(_pair(HOSTILE.format("scope key"), HOSTILE.format("scope value")))
    return trace.serialized()


def checkout_request(start_ns: int, *, slow: bool) -> bytes:
    """A checkout as it should be; or slow: a query for each book instead of one, a retry, and no cache."""
    trace = Request(SLOW_ID if slow else GOOD_ID, start_ns)
    late = 640 if slow else 0
    root = trace.span(
        "storefront", "POST /checkout", (0, 210 + late), kind=SERVER, attributes={"http.route": "/checkout"}
    )
    trace.span("storefront", "authenticate", (2, 9), root)
    basket_call = trace.span("storefront", "GET /basket", (12, 48), root, kind=CLIENT)
    basket = trace.span("basket", "GET /basket", (14, 46), basket_call, kind=SERVER)
    if not slow:
        trace.span("basket", "GET basket:cache", (15, 17), basket, {"db.system": "redis"}, CLIENT)
    trace.span("basket", "SELECT basket", (18, 44), basket, {"db.system": "postgresql"}, CLIENT)
    stock_call = trace.span("storefront", "POST /reserve", (50, 92 + (420 if slow else 0)), root, kind=CLIENT)
    stock = trace.span("stock", "POST /reserve", (52, 90 + (420 if slow else 0)), stock_call, kind=SERVER)
    for number in range(42 if slow else 1):
        at = 54 + number * 10.6
        trace.span("stock", "SELECT stock", (at, at + 9.4), stock, {"db.system": "postgresql"}, CLIENT)
    pay = 96 + (420 if slow else 0)
    pay_call = trace.span("storefront", "POST /pay", (pay, 190 + late), root, kind=CLIENT)
    payments = trace.span("payments", "POST /pay", (pay + 2, 188 + late), pay_call, kind=SERVER)
    if slow:
        fail(
            trace.span("payments", "charge card", (pay + 4, pay + 214), payments, {"retry": 0}, CLIENT),
            "the provider did not answer in time",
        )
    trace.span("payments", "charge card", (110 + late, 186 + late), payments, {"retry": int(slow)}, CLIENT)
    trace.span("storefront", "publish order", (192 + late, 204 + late), root, kind=PRODUCER)
    return trace.serialized()
