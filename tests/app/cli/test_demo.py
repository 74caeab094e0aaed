"""The demo's traces are what real services could have sent, and the command is a good guest."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.cli.demo import command
from app.cli.demo.services import SERVICES
from app.cli.demo.shop import PAGES, Shop, visit
from app.cli.demo.trace import CONSUMER, INTERNAL, SERVER, Failure, Trace, export_request, key_values

START_NS = 1_800_000_000_000_000_000


@pytest.fixture(scope="module")
def traces():
    shop = Shop(Random(3))
    return [shop.trace(START_NS) for _ in range(1_500)]


def attributes(span):
    return {each.key: each.value for each in span.attributes}


def test_ids_and_parents(traces):
    """One trace id per trace, no span id twice, one root, parents before their children."""
    assert len({placed[0][1].trace_id for placed in traces}) == len(traces)
    span_ids = [span.span_id for placed in traces for _, span in placed]
    assert len(set(span_ids)) == len(span_ids)
    for placed in traces:
        seen = set()
        for number, (_, span) in enumerate(placed):
            assert len(span.trace_id) == 16
            assert any(span.trace_id)
            assert len(span.span_id) == 8
            assert any(span.span_id)
            assert span.trace_id == placed[0][1].trace_id
            assert span.parent_span_id in seen if number else span.parent_span_id == b""
            seen.add(span.span_id)


def test_times(traces):
    """Nothing starts before the trace or ends before it starts; who is waited for ends within its parent."""
    for placed in traces:
        spans = {span.span_id: span for _, span in placed}
        for _, span in placed:
            assert START_NS <= span.start_time_unix_nano <= span.end_time_unix_nano < START_NS + 600 * 10**9
            for event in span.events:
                assert span.start_time_unix_nano <= event.time_unix_nano <= span.end_time_unix_nano
            if span.parent_span_id:
                parent = spans[span.parent_span_id]
                assert span.start_time_unix_nano >= parent.start_time_unix_nano
                if span.kind != CONSUMER:
                    assert span.end_time_unix_nano <= parent.end_time_unix_nano


def test_variety(traces):
    """All services, kinds and attribute types; errors with exceptions, links, slow requests: seldom, not never."""
    placed = [one for trace in traces for one in trace]
    assert {pod.service for pod, _ in placed} == set(SERVICES)
    assert {span.kind for _, span in placed} == {1, 2, 3, 4, 5}
    types = {each.value.WhichOneof("value") for _, span in placed for each in span.attributes}
    assert types == {"string_value", "int_value", "double_value", "bool_value", "array_value"}
    assert any(span.links for _, span in placed)
    assert 15 < len(placed) / len(traces) < 30

    failed = [trace for trace in traces if any(span.status.code == 2 for _, span in trace)]
    assert 0.005 < len(failed) / len(traces) < 0.1
    for trace in failed:
        assert any(event.name == "exception" for _, span in trace for event in span.events)
    durations_ns = [max(span.end_time_unix_nano for _, span in trace) - START_NS for trace in traces]
    assert sorted(durations_ns)[len(traces) // 2] < 100_000_000
    assert max(durations_ns) > 1_000_000_000


@pytest.mark.parametrize("page", [pytest.param(page, id=f"{page.method} {page.route}") for page in PAGES])
def test_every_page(page):
    """Each page makes a whole trace that begins at the gateway and is answered with a status."""
    shop = Shop(Random(4))
    trace = Trace(Random(6), START_NS)
    visit(shop.services, trace, page)
    pod, root = trace.spans[0]
    assert (pod.service, root.kind, root.name) == ("gateway", SERVER, f"{page.method} {page.route}")
    assert attributes(root)["http.response.status_code"].int_value == 200
    assert all(span.end_time_unix_nano for _, span in trace.spans)


@pytest.mark.parametrize(
    ("http_status", "code"),
    [
        pytest.param(404, Status.STATUS_CODE_UNSET, id="the visitor's mistake"),
        pytest.param(500, Status.STATUS_CODE_ERROR, id="ours"),
    ],
)
def test_failure_marks_the_spans_it_runs_through(http_status, code):
    """A server's span is an error from 500 on; an inner span always is; one span has the stack trace."""
    trace = Trace(Random(1), START_NS)
    pod = Shop(Random(1)).services.pod("catalog")

    def fails():
        with trace.span("outer", SERVER, {}, pod), trace.span("inner", INTERNAL, {}):
            trace.spend(0.01)
            raise Failure("Gone", "it is gone", http_status=http_status)

    with pytest.raises(Failure):
        fails()
    (_, outer), (_, inner) = trace.spans
    assert outer.status.code == code
    assert inner.status.code == Status.STATUS_CODE_ERROR
    assert [event.name for event in inner.events] == ["exception"]
    assert not outer.events
    assert (
        "it is gone" in {each.key: each.value.string_value for each in inner.events[0].attributes}["exception.message"]
    )


def test_attribute_types():
    """A Python value's type becomes OTLP's; a bool is no int."""
    values = key_values({"s": "x", "b": True, "i": 7, "d": 0.5, "a": ["x", "y"]})
    assert [each.value.WhichOneof("value") for each in values] == [
        "string_value",
        "bool_value",
        "int_value",
        "double_value",
        "array_value",
    ]


def test_same_seed_same_visits():
    """A seed fixes every byte."""
    first, second = (Shop(Random(9)) for _ in range(2))
    for _ in range(20):
        one, other = (export_request(shop.trace(START_NS)).SerializeToString() for shop in (first, second))
        assert one == other


def test_what_is_sent_has_happened():
    """A trace made for now ends now, its events within it."""
    placed = command.ending_now(Shop(Random(2)), START_NS)
    assert max(span.end_time_unix_nano for _, span in placed) == START_NS
    for _, span in placed:
        for event in span.events:
            assert span.start_time_unix_nano <= event.time_unix_nano <= span.end_time_unix_nano


class Refused(grpc.RpcError):
    def __init__(self, status):
        self.status = status

    def code(self):
        return self.status

    def details(self):
        return "because"


@pytest.mark.parametrize(
    ("answers", "delivered", "said"),
    [
        pytest.param([None], True, [], id="at once"),
        pytest.param(
            [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, None],
            True,
            ["UNAVAILABLE: because; trying again", "the server takes traces again"],
            id="at last, one complaint for all attempts",
        ),
        pytest.param([grpc.StatusCode.INVALID_ARGUMENT], False, ["refused, INVALID_ARGUMENT: because"], id="never"),
    ],
)
def test_deliver(answers, delivered, said, monkeypatch, capsys):
    """What may pass is tried again, what would fail again is not; the terminal is told once."""
    monkeypatch.setattr(command, "RETRY_FIRST_S", 0.01)
    left = iter(answers)

    def send(_request):
        if (status := next(left)) is not None:
            raise Refused(status)

    assert command.deliver(b"x", send, threading.Event()) is delivered
    assert capsys.readouterr().out.splitlines() == [f"demo: {line}" for line in said]
    assert next(left, "all used") == "all used"


@contextmanager
def receiver(port=0):
    """An OTLP server; yields its port and the requests that it got."""
    got = []

    def export(request, _context):
        got.append(request)
        return b""

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.server(ThreadPoolExecutor(2))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield port, got
    finally:
        server.stop(0).wait()


@contextmanager
def demo(port, *options):
    """The command as a process; killed at the end where it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli.demo", "--to", f"127.0.0.1:{port}", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(holds, limit_s=30.0):
    deadline_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, id="SIGTERM"), pytest.param(signal.SIGINT, id="SIGINT")]
)
def test_command_sends_until_told_to_stop(number):
    """It says what it does, sends traces of now, and ends within 2 s of the signal with status 0."""
    with receiver() as (port, got), demo(port, "--rate", "50") as process:
        wait_until(lambda: len(got) >= 3)
        signalled_s = time.monotonic()
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert time.monotonic() - signalled_s < 2
    assert process.returncode == 0
    assert '{ resource.service.name = "payments" && status = error }' in out
    assert "stopped after" in out
    for request in got:
        message = ExportTraceServiceRequest.FromString(request)
        spans = [span for group in message.resource_spans for scope in group.scope_spans for span in scope.spans]
        assert spans
        assert all(isinstance(span, Span) for span in spans)
        assert max(span.end_time_unix_nano for span in spans) <= time.time_ns()
        assert min(span.start_time_unix_nano for span in spans) > time.time_ns() - 600 * 10**9


def test_command_waits_for_an_absent_server():
    """Without a server it says so once, then delivers to the one that comes, and still stops quickly."""
    with receiver() as (port, _):
        pass  # the port is free again
    with demo(port) as process:
        lines = [process.stdout.readline() for _ in range(4)]
        assert "UNAVAILABLE" in lines[-1]
        with receiver(port) as (_, got):
            wait_until(lambda: got)
        signalled_s = time.monotonic()
        process.terminate()
        out, _ = process.communicate(timeout=10)
        assert time.monotonic() - signalled_s < 2
    assert process.returncode == 0
    assert "the server takes traces again" in out


@pytest.mark.parametrize("rate", ["0", "-1", "1001", "many"])
def test_refused_rates(rate, capsys):
    """A rate that makes no sense, or is not the demo's job, is refused before anything is sent."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["--rate", rate])
    assert "--rate" in capsys.readouterr().err
