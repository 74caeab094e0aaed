"""The soak's load, against a server that answers as it is told; the soak's options."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from benchmarks import workload
from benchmarks.soak import __main__ as soak
from benchmarks.soak import load
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, Ledger
from benchmarks.soak.surroundings import code_of_now, settings
from benchmarks.soak.template import Template

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Server:
    """Keeps what comes; `answer` decides, by the request's number, what is answered."""

    def __init__(self):
        self.requests = []
        self.answer = lambda _number, _context: b""
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4))
        handlers = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _export(self, request, context):
        with self._lock:
            self.requests.append(request)
            number = len(self.requests) - 1
        return self.answer(number, context)

    def stop(self):
        self._server.stop(0).wait()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "w.otlp"
    workload.write(workload.Options(spans=500, spans_per_request=50, spans_per_s=2000), path)
    return Ledger(Template(path))


def loaded(server, ledger, requests, rate=100_000):
    loader = load.Loader(ledger, f"127.0.0.1:{server.port}", rate)
    loader.start()
    deadline_s = time.monotonic() + 20
    while len(server.requests) < requests:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    loader.finish()
    return loader


def test_every_request_is_another(server, ledger):
    """Pass after pass; what was sent is in the ledger, and can be made again from it."""
    loader = loaded(server, ledger, 3 * ledger.template.requests)
    assert len(set(server.requests)) == len(server.requests)
    assert ledger.requests(ACKNOWLEDGED) == len(server.requests)
    assert ledger.requests(UNKNOWN) == 0
    assert loader.ack_ms()["p50"] > 0
    again = {
        ledger.template.request(number, index, ledger.starts_ns[number])
        for number in range(2)
        for index in range(ledger.template.requests)
    }
    assert again <= set(server.requests)


def test_a_refused_request_stays_unknown(server, ledger, monkeypatch):
    """It is not acknowledged, not sent again, and told with the server's words."""
    monkeypatch.setattr(load, "PAUSE_S", 0.01)

    def answer(number, context):
        if number % 3 == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Kafka is away")
        return b""

    server.answer = answer
    loader = loaded(server, ledger, 12)
    assert loader.errors == {"UNAVAILABLE: Kafka is away": ledger.requests(UNKNOWN)}
    assert ledger.requests(UNKNOWN) >= 4
    assert ledger.requests(UNKNOWN) + ledger.requests(ACKNOWLEDGED) == len(server.requests)


def test_rejected_spans_are_told(server, ledger):
    """OTLP's partial success is not overlooked."""
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    server.answer = lambda number, _: answer.SerializeToString() if number == 0 else b""
    assert loaded(server, ledger, 3).rejected_spans == 2


def test_interruptions(server, ledger, monkeypatch):
    """A pause of the acknowledgements is seen, with its end."""
    monkeypatch.setattr(load, "GAP_S", 0.3)
    monkeypatch.setattr(load, "IN_FLIGHT", 1)

    def answer(number, _context):
        if number == 20:
            time.sleep(0.6)
        return b""

    server.answer = answer
    began_s = time.monotonic()
    loader = loaded(server, ledger, 40, rate=20_000)
    (gap,) = loader.gaps
    assert 0.5 < gap.end_s - gap.start_s < 5
    assert loader.interrupted_until_s(began_s) == gap.end_s
    assert loader.interrupted_until_s(gap.end_s) == gap.end_s
    assert loader.acknowledged_since(gap.end_s)
    assert not loader.acknowledged_since(time.monotonic())


def test_steady(server, ledger):
    """The rate is kept."""
    began_s = time.monotonic()
    loaded(server, ledger, 20, rate=2000)  # 40 requests a second
    assert time.monotonic() - began_s > 0.4


def test_settings(tmp_path):
    """Options become environment variables; further settings win."""
    given = soak.parse(["--block-age-s", "8", "--setting", "live_store.segment_age_s=3"])
    made = settings(given)
    assert made["STRETTO_LIVE_STORE__BLOCK_AGE_S"] == "8"
    assert made["STRETTO_LIVE_STORE__SEGMENT_AGE_S"] == "3"
    code = tmp_path / "code"
    assert code_of_now(code) == {"PYTHONPATH": str(code)}
    assert (code / "app" / "main.py").is_file()
    assert (code / "query" / "language" / "grammar.lark").is_file()


@pytest.mark.parametrize(
    "arguments",
    [["--minutes", "0"], ["--rate", "0"], ["--every-s", "-1"], ["--setting", "live_store"], ["--setting", "A=1"]],
    ids=" ".join,
)
def test_refused_options(arguments, capsys):
    """Options that make no sense are refused before anything starts."""
    with pytest.raises(SystemExit, match="2"):
        soak.parse(arguments)
    assert "error:" in capsys.readouterr().err
