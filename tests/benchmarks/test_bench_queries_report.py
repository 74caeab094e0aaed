"""TenantStats of the queries stand beside their bounds; what misses, and what is wrong, is marked."""

import json
import threading
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import workload
from benchmarks.queries import __main__ as bench
from benchmarks.queries import report, stalls
from benchmarks.queries.ask import Timing, all_timed
from benchmarks.queries.cases import Call, Case
from benchmarks.queries.concurrent_clients import ConcurrentRun, ask
from benchmarks.queries.expect import Values
from benchmarks.queries.report import BLOCKS, RECENT, Compared, Row, Run
from tests.harness.cluster import BenchError

RIGHT = Row(BLOCKS, "b", runs=20, median_ms=9.0, p99_ms=12.0, first_ms=80.0, answer_bytes=28_000, wrong="")
RUN = Run(
    date="2026-11-21T12:00:00+00:00",
    commit="abc1234",
    cores=2,
    load_average=0.1,
    spans=1_000_340,
    partitions=4,
    flushes=1,
    blocks=4,
    disk_bytes=5_000_000,
    rows=(replace(RIGHT, place=RECENT), RIGHT, replace(RIGHT, name="i")),
    stall_ms={RECENT: 30.0, BLOCKS: 60.0},
)
COMPARED = Compared(1_000_000, {"a": 10.0, "b": 9.0, "i": 0.4})


@pytest.mark.parametrize(
    ("name", "place", "spans", "compared", "bound"),
    [
        pytest.param("b", RECENT, 1_000_340, None, 10, id="the target"),
        pytest.param("b", BLOCKS, 100_000, COMPARED, 10, id="few spans"),
        pytest.param("b", BLOCKS, 10_000_000, COMPARED, 108, id="a scan: twelve times"),
        pytest.param("a", BLOCKS, 10_000_000, COMPARED, 40, id="a trace: far less"),
        pytest.param("i", BLOCKS, 10_000_000, COMPARED, 4, id="noise is not multiplied"),
        pytest.param("b", BLOCKS, 10_000_000, None, None, id="nothing to compare with"),
        pytest.param("c", BLOCKS, 10_000_000, COMPARED, None, id="not measured then"),
        pytest.param("b", RECENT, 10_000_000, COMPARED, None, id="recent"),
    ],
)
def test_bound(name, place, spans, compared, bound):
    """About a million spans are held to the targets; more to what a million took."""
    assert report.bound_ms(name, place, spans, compared) == (None if bound is None else pytest.approx(bound))


def test_text():
    """Met, missed, wrong; the stalls; the queries' text; how many rows are right."""
    wrong = replace(RIGHT, name="c", wrong="3 traces do not match")
    text = report.text(replace(RUN, rows=(*RUN.rows, wrong)), None, {"b": "{ x }"})
    lines = text.splitlines()
    assert [line.split()[6] for line in lines if line[:2] in ("b ", "i ", "c ")] == ["met", "met", "MISSED", "WRONG"]
    assert "1,000,340 spans, 4 partitions, 1 flushes, 4 blocks, 5 MB on disk" in lines[0]
    assert "{ x }" in text
    assert "recent: event loop never held up for more than 30 ms: met" in text
    assert "blocks: event loop never held up for more than 60 ms: MISSED" in text
    assert "WRONG c (blocks): 3 traces do not match" in text
    assert lines[-1] == "3 of 4 rows right"


def test_concurrent_load():
    """Throughput, each query's p50 and p99, what came in meanwhile, the probe."""
    concurrent = ConcurrentRun(10, 4.0, [Timing("b", [0.01, 0.02, 0.03]), Timing("c"), Timing("d", [0.1], wrong="no")])
    ingest = {"ingest_rate": 10_000, "ingested_per_s": 9_990, "ack_p99_ms": 80.0, "ingest_errors": 2}
    load = report.concurrent_load(
        BLOCKS, concurrent, ingest, [0.001, 0.002], 40.0, {"its own work": 10.0, "no CPU was free": 30.0}
    )
    run = replace(RUN, concurrent_loads=[load])
    text = report.text(run, None, {})
    for expected in (
        "10 clients, blocks, 4 s: 1.0 answers/s",
        "meanwhile 9,990 of 10,000 spans/s acknowledged, p99 80.0 ms, 2 requests REFUSED",
        "more than 40 ms: met; at the most its own work 10 ms, no CPU was free 30 ms",
        "/api/echo p50 1 ms, p90 2 ms, p99 2 ms, max 2 ms",
    ):
        assert expected in text
    rows = [line.split() for line in text.splitlines()]
    assert ["b", "3", "20.0", "30.0"] in rows
    assert ["c", "0", "-", "-"] in rows
    assert ["d", "1", "100", "100", "WRONG"] in rows
    assert [one.name for one in run.wrong] == ["d"]


def test_compared(tmp_path):
    """The last right run of a million spans in one go counts; lines of other benchmarks are passed over."""
    path = tmp_path / "results.jsonl"
    assert report.find_compared(path, 4) is None
    path.write_text(json.dumps({"spans": 1_000_000, "loaded": {}}) + "\n")
    assert report.find_compared(path, 4) is None
    report.append_json(replace(RUN, rows=[replace(RIGHT, median_ms=7.0)]), path)
    report.append_json(RUN, path)
    for other in (
        replace(RUN, spans=100_000),
        replace(RUN, flushes=10),
        replace(RUN, partitions=1),
        replace(RUN, rows=[replace(RIGHT, wrong="x")]),
        replace(RUN, rows=[replace(RIGHT, place=RECENT)]),
    ):
        report.append_json(other, path)
    assert report.find_compared(path, 4) == Compared(1_000_340, {"b": 9.0, "i": 9.0})
    assert json.loads(path.read_text().splitlines()[1])["rows"] == [asdict(replace(RIGHT, median_ms=7.0))]


def test_more_spans():
    """It is said with what many spans are compared, or that there is nothing."""
    run = replace(RUN, spans=10_000_000, flushes=10)
    assert "growth from the 1,000,000 spans" in report.text(run, COMPARED, {})
    assert "run --spans 1000000 --partitions 4 first" in report.text(run, None, {})


def test_markdown():
    """A row for each query, a column for each place; a pipe in a query does not end its cell."""
    rows = report.markdown(replace(RUN, rows=RUN.rows[:2]), {"b": "{ } | count() > 2"}).splitlines()
    assert rows == [
        "| query | target | recent | blocks |",
        "|---|---|---|---|",
        "| b `{ } \\| count() > 2` | 10.0 | 9.0 / 12.0 | 9.0 / 12.0 |",
    ]


@pytest.mark.parametrize(
    ("before", "after", "longest"),
    [
        pytest.param({0.01: 5, 0.05: 6, float("inf"): 6}, {0.01: 9, 0.05: 10, float("inf"): 10}, 10.0, id="short"),
        pytest.param({0.01: 5, 0.05: 6, float("inf"): 6}, {0.01: 9, 0.05: 11, float("inf"): 11}, 50.0, id="longer"),
        pytest.param(
            {0.01: 0, 0.05: 0, float("inf"): 0}, {0.01: 1, 0.05: 1, float("inf"): 2}, float("inf"), id="beyond"
        ),
        pytest.param({0.01: 5, float("inf"): 6}, {0.01: 5, float("inf"): 6}, 0.0, id="nothing observed"),
    ],
)
def test_longest_stall(before, after, longest):
    """What grew between two looks at the histogram, whatever was there before."""
    assert stalls.longest_ms(before, after) == longest


class Handler(BaseHTTPRequestHandler):
    """Right values, of which every other answer's connection is closed without a word of it; metrics; echo."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/metrics":
            body = 'stretto_event_loop_stall_seconds_bucket{le="0.01"} 7\nother_bucket{le="0.1"} 3\n'
        else:
            body = json.dumps({"tagValues": [{"value": "b" if self.path == "/wrong" else "a"}]})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
        self.close_connection = self.path == "/closes"

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def case(name, target):
    return Case(name, "", (Call(target, Values(frozenset("a"))),))


def test_asking(url):
    """Each query so many times; the first thing wrong is kept; a connection that was closed is opened again."""
    right, wrong, closes = all_timed(url, [case("r", "/"), case("w", "/wrong"), case("c", "/closes")], 5, 60.0)
    assert [len(one.took_s) for one in (right, wrong, closes)] == [5, 5, 5]
    assert right.wrong == closes.wrong == ""
    assert wrong.wrong == "1 missing, among them 'a'"
    assert right.answer_bytes == len('{"tagValues": [{"value": "a"}]}')
    (slow,) = all_timed(url, [case("s", "/")], 50, 0.0)
    assert len(slow.took_s) == 3


def test_crowd(url):
    """All clients ask until the time is over; what is wrong is told."""
    concurrent = ask(url, [case("r", "/"), case("w", "/wrong")], clients=3, seconds=0.3)
    assert concurrent.clients == 3
    assert concurrent.answers == sum(len(one.took_s) for one in concurrent.timings) > 6
    assert [bool(one.wrong) for one in concurrent.timings] == [False, True]


def test_nobody_there():
    """A server that does not answer ends the run with its address."""
    with pytest.raises(BenchError, match=r"http://127.0.0.1:1/: no answer"):
        ask("http://127.0.0.1:1", [case("r", "/")], clients=2, seconds=1.0)
    echo = stalls.Echo("http://127.0.0.1:1")
    echo.start()
    with pytest.raises(BenchError, match="no answer"):
        echo.finish()


def test_probe(url):
    """The probe asks until it is told to stop; the worker's histogram is read."""
    echo = stalls.Echo(url)
    echo.start()
    while len(echo.took_s) < 3:
        assert echo.failure is None
    echo.finish()
    assert stalls.buckets(url) == {0.01: 7.0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--spans", "0"],
        ["--blocks", "0"],
        ["--runs", "0"],
        ["--clients", "-1"],
        ["--ingest", "0"],
        ["--seconds", "0"],
        ["--blocks", "2", "--only", "recent"],
        ["--spans", "5", "--blocks", "6"],
        ["--spans", "100000000", "--blocks", "70000"],
        ["--compare", "absent.jsonl"],
        ["--setting", "x"],
    ],
    ids=" ".join,
)
def test_refused_options(arguments, capsys):
    """Options that make no sense are refused before anything starts."""
    with pytest.raises(SystemExit, match="2"):
        bench.main(arguments)
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "passes"),
    [
        pytest.param([], [1], id="a million"),
        pytest.param(["--spans", "2500000"], [3], id="more, in one go"),
        pytest.param(["--spans", "10000000", "--blocks", "10"], [1] * 10, id="ten blocks"),
        pytest.param(["--spans", "10000000", "--blocks", "4"], [3] * 4, id="four large blocks"),
        pytest.param(["--spans", "1000", "--blocks", "2"], [1, 1], id="small"),
    ],
)
def test_passes(arguments, passes):
    """The file has at most a million spans: it is sent as often as is needed for each flush."""
    assert bench.passes_per_flush(bench.parse(arguments)) == passes


def test_too_little_disk(tmp_path, monkeypatch, capsys):
    """Nothing is made where the disk cannot hold the run; the folder is kept, and empty."""
    monkeypatch.setattr(workload, "CACHE", tmp_path)
    monkeypatch.setattr(bench, "BYTES_PER_SPAN", 10**15)
    assert bench.main(["--spans", "1000"]) == 1
    assert "too little disk" in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("*.otlp")] == []
