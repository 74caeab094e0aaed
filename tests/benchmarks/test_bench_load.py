"""The loader sends everything once, keeps to its limits, and tells what came of it."""

import json
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from benchmarks import load

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Receiver:
    """A stand-in for the server: notes what it gets, answers as told."""

    def __init__(self):
        self.lock = threading.Lock()
        self.got = []
        self.tenants = []
        self.unanswered = 0
        self.most_unanswered = 0
        self.delay_s = 0.0
        self.answer = b""
        self.fail_every = 0

    def export(self, request, context):
        with self.lock:
            self.got.append(request)
            self.tenants.append(dict(context.invocation_metadata()).get("x-scope-orgid"))
            self.unanswered += 1
            self.most_unanswered = max(self.most_unanswered, self.unanswered)
            fails = self.fail_every and len(self.got) % self.fail_every == 0
        time.sleep(self.delay_s)
        with self.lock:
            self.unanswered -= 1
        if fails:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
        return self.answer


@contextmanager
def serving(receiver):
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(receiver.export)}
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


REQUESTS = [f"request {number}".encode() for number in range(60)]


def test_sends_each_once():
    """Every request arrives once, unchanged, without a tenant; sizes and times are told."""
    receiver = Receiver()
    with serving(receiver) as address:
        loaded = load.load(REQUESTS, address)
    assert sorted(receiver.got) == sorted(REQUESTS)
    assert set(receiver.tenants) == {None}
    assert (loaded.requests, loaded.bytes) == (60, sum(map(len, REQUESTS)))
    assert (loaded.errors, loaded.rejected_spans) == (0, 0)
    assert loaded.wall_s > 0
    assert 0 < loaded.ack_ms["p50"] <= loaded.ack_ms["p90"] <= loaded.ack_ms["p99"] <= loaded.ack_ms["max"]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_in_flight_is_a_limit(in_flight):
    """Never more requests unanswered than allowed."""
    receiver = Receiver()
    receiver.delay_s = 0.005
    with serving(receiver) as address:
        load.load(REQUESTS, address, in_flight=in_flight)
    assert 1 <= receiver.most_unanswered <= in_flight


def test_tenants_in_turn():
    """With tenants, each gets its share under its name."""
    receiver = Receiver()
    with serving(receiver) as address:
        load.load(REQUESTS, address, tenants=3)
    assert {name: receiver.tenants.count(name) for name in set(receiver.tenants)} == {
        "tenant-0": 20,
        "tenant-1": 20,
        "tenant-2": 20,
    }


def test_steady_rate():
    """At a rate, sending takes as long as the rate says."""
    with serving(Receiver()) as address:
        loaded = load.load(REQUESTS, address, rate=120)
    assert 59 / 120 <= loaded.wall_s < 59 / 120 + 1


def test_a_server_that_falls_behind_cannot_hide_it():
    """At a rate, the wait for a free slot is part of the latency: 20 requests due at once, 10 ms each."""
    receiver = Receiver()
    receiver.delay_s = 0.01
    with serving(receiver) as address:
        loaded = load.load(REQUESTS[:20], address, in_flight=1, rate=10_000)
    assert loaded.ack_ms["max"] >= 20 * 10 * 0.9


def test_errors_are_counted():
    """A refused request is counted with its code, and does not stop the others."""
    receiver = Receiver()
    receiver.fail_every = 10
    with serving(receiver) as address:
        loaded = load.load(REQUESTS, address)
    assert loaded.errors == 6
    assert loaded.error_counts == {"RESOURCE_EXHAUSTED": 6}
    assert loaded.first_errors == ["RESOURCE_EXHAUSTED: slow down"] * 3
    assert len(receiver.got) == 60


def test_partial_success_is_counted():
    """Spans that the server rejected in an acknowledged request are told."""
    receiver = Receiver()
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    receiver.answer = response.SerializeToString()
    with serving(receiver) as address:
        loaded = load.load(REQUESTS, address)
    assert (loaded.errors, loaded.rejected_spans) == (0, 120)


@pytest.mark.parametrize(
    ("times_s", "points"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([0.5], {"p50": 500.0, "p90": 500.0, "p99": 500.0, "max": 500.0}, id="one"),
        pytest.param([n / 1000 for n in range(101)], {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}, id="101"),
    ],
)
def test_percentiles(times_s, points):
    """Nearest ranks, in milliseconds, of times in any order."""
    assert load.percentiles_ms(times_s[::-1]) == points


@pytest.mark.parametrize(
    ("fail_every", "status"), [pytest.param(0, 0, id="all well"), pytest.param(30, 1, id="errors")]
)
def test_command(fail_every, status, tmp_path, capsys):
    """The command prints one line of JSON; its status says whether all was acknowledged."""
    path = tmp_path / "w.otlp"
    path.write_bytes(b"".join(struct.pack("<I", len(each)) + each for each in REQUESTS))
    receiver = Receiver()
    receiver.fail_every = fail_every
    with serving(receiver) as address:
        assert load.main([str(path), "--to", address, "--in-flight", "2"]) == status
    said = json.loads(capsys.readouterr().out)
    assert load.Loaded(**said).requests == 60
