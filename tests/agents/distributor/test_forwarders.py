"""Forwarders: copies at a real receiver of OTLP, one that stalls, one that refuses; conditions."""

import threading
import time
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from agents.distributor.forwarders.conditions import ConditionError, parse_condition
from agents.distributor.forwarders.forwarder import DROPPED, QUEUE_BYTES, SENT, Forwarder, ForwarderConfig
from agents.distributor.forwarders.span_filter import SpanFilter
from agents.distributor.requests import Request
from tests.helpers.live.whole_way import request, span


class Sink(TraceServiceServicer):
    """Takes spans when it may."""

    def __init__(self) -> None:
        self.got: list[tuple[str, list[str]]] = []
        self.go = threading.Event()
        self.go.set()
        self.refuse: list[grpc.StatusCode] = []
        self.attempts = 0

    def Export(self, asked, context):  # noqa: N802  (its name in the protocol)
        self.attempts += 1
        self.go.wait(30)
        if self.refuse:
            context.abort(self.refuse.pop(0), "not now")
        tenant = dict(context.invocation_metadata())["x-scope-orgid"]
        names = [one.name for group in asked.resource_spans for scope in group.scope_spans for one in scope.spans]
        self.got.append((tenant, names))
        return ExportTraceServiceResponse()


@pytest.fixture
def sink():
    server, servicer = grpc.server(futures.ThreadPoolExecutor(2)), Sink()
    add_TraceServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    servicer.go.set()
    server.stop(0).wait()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.005)


def of(name, tenant="t"):
    return Request(tenant, request([span(1, name=name)]))


def value(metric, *labels):
    return metric.labels(*labels)._value.get()


def spans(sink):
    return sorted(name for _, names in sink.got for name in names)


def test_copies_arrive_with_their_tenant(sink):
    """Requests of one tenant may come together."""
    forwarder = Forwarder(ForwarderConfig("arrive", [sink.address]))
    forwarder.start()
    for number in range(20):
        forwarder.offer(of(f"{number:02}", "a" if number % 2 else "b"))
    until(lambda: len(spans(sink)) == 20)
    assert spans(sink) == [f"{number:02}" for number in range(20)]
    assert all((int(name) % 2 == 1) == (tenant == "a") for tenant, names in sink.got for name in names)
    until(lambda: value(SENT, "arrive") == 20)
    forwarder.stop(5)
    assert value(QUEUE_BYTES, "arrive") == 0


def test_a_sink_that_stalls_holds_up_nobody(sink):
    """`offer` returns at once; the queue has a limit, what is beyond it is counted; afterwards all in it arrives."""
    size = len(of("x" * 10).body)
    forwarder = Forwarder(ForwarderConfig("stalls", [sink.address], queue_bytes_max=10 * size, timeout_s=60))
    sink.go.clear()
    forwarder.start()
    began = time.monotonic()
    for _ in range(1000):
        forwarder.offer(of("x" * 10))
    assert time.monotonic() - began < 5, "it would have waited for the sink"
    assert value(DROPPED, "stalls", "queue") == 990
    assert value(QUEUE_BYTES, "stalls") == 10 * size
    sink.go.set()
    until(lambda: len(spans(sink)) == 10)
    forwarder.stop(5)


def test_a_sink_that_never_answers_is_given_up(sink):
    """After `retry_s` the request is lost and counted, and the next one is tried."""
    sink.go.clear()
    forwarder = Forwarder(ForwarderConfig("silent", [sink.address], timeout_s=0.1, retry_s=0.3))
    forwarder.start()
    forwarder.offer(of("lost"))
    until(lambda: value(DROPPED, "silent", "timeout") == 1)
    sink.go.set()
    forwarder.offer(of("later"))
    until(lambda: "later" in spans(sink))
    forwarder.stop(5)


def test_refusals(sink):
    """One that passes is tried again, at the next endpoint; one that does not is final."""
    forwarder = Forwarder(ForwarderConfig("refuses", ["127.0.0.1:1", sink.address]))
    sink.refuse = [grpc.StatusCode.UNAVAILABLE]
    forwarder.start()
    forwarder.offer(of("again"))
    until(lambda: spans(sink) == ["again"])
    sink.refuse = [grpc.StatusCode.INVALID_ARGUMENT]
    forwarder.offer(of("never"))
    until(lambda: value(DROPPED, "refuses", "refused") == 1)
    forwarder.stop(5)
    assert spans(sink) == ["again"]


def test_at_the_end_what_waits_is_counted(sink):
    """A process that ends does not wait for a sink."""
    sink.go.clear()
    forwarder = Forwarder(ForwarderConfig("ends", [sink.address], timeout_s=60))
    forwarder.start()
    for _ in range(3):
        forwarder.offer(of("x" * 600_000))
    until(lambda: sink.attempts == 1)
    forwarder.stop(0.1)
    forwarder.offer(of("late"))
    until(lambda: value(DROPPED, "ends", "stopped") == 3)
    assert value(DROPPED, "ends", "queue") == 1


REQUEST = request(
    [
        span(1, name="GET /", kind=2, attributes={"http.route": "/"}),
        span(2, name="GET /health", kind=2, attributes={"http.route": "/health"}),
        span(3, name="query", kind=3, status={"code": 2, "message": "gone"}),
        span(0, name="without an id"),
    ],
    service_name="shop",
)


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ('attributes["http.route"] == "/health"', ["GET /", "query"]),
        ('attributes["http.route"] != "/health"', ["GET /health"]),
        ('attributes["http.route"] == nil', ["GET /", "GET /health"]),
        ('attributes["absent"] != nil', ["GET /", "GET /health", "query"]),
        ('resource.attributes["service.name"] == "shop" and kind == SPAN_KIND_CLIENT', ["GET /", "GET /health"]),
        ('not (status.code == STATUS_CODE_ERROR or IsMatch(name, "health$"))', ["GET /health", "query"]),
        ('span.status.message == "gone"', ["GET /", "GET /health"]),
        ('span.kind >= 3', ["GET /", "GET /health"]),
        ('name == "GET /" or name == "query" or name == "GET /health"', []),
    ],
)  # fmt: skip
def test_conditions(condition, left):
    """A span that the condition holds for is left out; resources, and spans nobody can look at, stay as they are."""
    body, filtered = SpanFilter([parse_condition(condition)]).filtered(REQUEST)
    parsed = ExportTraceServiceRequest.FromString(body)
    names = [one.name for group in parsed.resource_spans for scope in group.scope_spans for one in scope.spans]
    assert names == [*left, "without an id"]
    assert filtered == 3 - len(left)
    assert parsed.resource_spans[0].resource.attributes[0].value.string_value == "shop"


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("foo", "at character 1: not understood"),
        ('attributes["a"] ==', "at the end: not understood"),
        ("name == 3", "name is compared with a text"),
        ("kind == SPAN_KIND_X", "SPAN_KIND_X is none of"),
        ('kind == "server"', "kind is compared with a number"),
        ('attributes["a"] < nil', "compared by == and !="),
        ('IsMatch(name, "(")', "the regular expression '\\('"),
        ("(" * 3000 + ")", "not understood|nested too deeply"),
    ],
)
def test_conditions_that_cannot_be_read(condition, text):
    """The error says where, and what is possible."""
    with pytest.raises(ConditionError, match=text):
        parse_condition(condition)
