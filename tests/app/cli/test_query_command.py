"""`stretto query` against the API over a fake backend, through real sockets."""

import asyncio
import json
import time
from argparse import ArgumentTypeError

import pytest

from app.api.backend import TraceAnswer
from app.cli.main import main
from app.cli.query import tables
from app.cli.query.times import duration_s, moment_s, shown_duration, shown_time
from query.engine.distinct import TagValue
from query.results import Inspected, MetricsResult, Series
from query.tags.tags import TagNames, TagValues
from tests.helpers.querying.api import CREDENTIALS, RESULT, FakeBackend, api_over, serving, spans
from tests.helpers.querying.engine import Engine
from tests.query.golden import load_table
from tests.query.sources import LOAD, by_time

TRACE = "000f2ba9cc8f6a098a30a7aec2cbeadb"


@pytest.fixture
def backend() -> FakeBackend:
    backend = FakeBackend(result=RESULT, answer=TraceAnswer(spans(2), complete=True, message=""))
    backend.names = TagNames({"span": ("a", "b")}, Inspected())
    backend.values = TagValues((TagValue("string", "x"), TagValue("int", "5")), Inspected())
    samples = [(n * 10**9, float(n)) for n in range(1, 5)]
    backend.series = MetricsResult([Series([("service", "a"), ("ok", True)], samples)], Inspected())
    return backend


@pytest.fixture
def stretto(backend, capsys):
    """stretto(*arguments, **settings) -> exit status, stdout, stderr of `stretto query arguments --url …`"""

    def stretto(*arguments, **settings):
        async def use(base):
            return await asyncio.to_thread(main, ["query", *arguments, "--url", base])

        status = asyncio.run(serving(api_over(backend, **settings), use))
        return status, *capsys.readouterr()

    return stretto


def test_search(stretto, backend):
    """A line per trace; JSON is the server's own."""
    status, out, _ = stretto("search", "{ true }", "--limit", "5", "--since", "1h")
    assert status == 0
    head, line = out.splitlines()
    assert head.split()[:2] == ["TRACE", "START"]
    assert line.split() == [TRACE, "1970-01-01", "00:00:01.000", "50ms", "frontend", "GET", "/", "4"]
    (asked,) = backend.asked
    assert (asked["query"], asked["limit"]) == ("{ true }", 5)
    assert asked["end_ns"] - asked["start_ns"] == 3600 * 10**9
    assert abs(asked["end_ns"] / 10**9 - time.time()) < 60
    _, out, _ = stretto("search", "{ true }", "-o", "json")
    assert json.loads(out)["traces"][0]["rootServiceName"] == "frontend"
    assert backend.asked[1]["start_ns"] is None


def test_trace(stretto, backend):
    """A line per span; one that is not there is an error."""
    status, out, err = stretto("trace", TRACE.lstrip("0"))
    assert (status, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["op", "0", "checkout"], ["op", "1", "checkout"]]
    backend.answer = TraceAnswer(spans(1), complete=False, message="partition 3 is away")
    assert "partition 3 is away" in stretto("trace", TRACE)[2]
    backend.answer = TraceAnswer(None, complete=True, message="")
    status, out, err = stretto("trace", "77")
    assert (status, out, err) == (1, "", "stretto: no trace 77\n")


def test_search_beyond_tempo(backend, stretto, monkeypatch):
    """The longest first, how many there are, a page and the next one, or all pages in one."""
    engine = Engine(by_time(load_table(LOAD), 4))
    monkeypatch.setattr(backend, "search", engine.search)
    whole = json.loads(stretto("search", "--limit", "12", "-o", "json")[1])["traces"]
    _, out, _ = stretto("search", "--limit", "5", "--total", "--order", "duration", "--cursor", "")
    *lines, total, page = out.splitlines()
    assert (len(lines), total, page.startswith("next page: --cursor duration-")) == (6, "12 traces in all", True)
    _, out, _ = stretto("search", "--limit", "10", "--order", "duration", "--cursor", page.split()[-1])
    assert len(out.splitlines()) == 8
    status, out, err = stretto("search", "--limit", "5", "--all", "--total", "-o", "json")
    body = json.loads(out)
    assert (status, err, body["traces"], body["totalTraces"], "nextCursor" in body) == (0, "", whole, 12, False)
    _, out, err = stretto("search", "{ name = `a` }", "--debug")
    assert json.loads(err)["plan"][0]["query"] == "{ name = `a` }"
    assert "TRACE" in out


def test_trace_in_pages(backend, stretto, monkeypatch):
    """A trace larger than the limit is read in pages and is the same."""
    table = load_table(
        "\n".join(["load", *(f"  t1 s{i:02} resource.service.name=s{i % 2} start={i}s" for i in range(30))])
    )
    monkeypatch.setattr(backend, "trace", Engine(by_time(table, 3)).trace)
    trace = b"t1".rjust(16, b"\0").hex()
    bodies = [json.loads(stretto("trace", trace, "-o", "json", max_spans_per_page=most)[1]) for most in (100, 7)]
    assert bodies[0] == bodies[1]
    assert len(bodies[0]["trace"]["resourceSpans"]) == 2
    status, out, _ = stretto("trace", trace, max_spans_per_page=7)
    assert (status, len(out.splitlines())) == (0, 31)


def test_metrics(stretto):
    """A line per series: over time, and in one value."""
    status, out, _ = stretto("metrics", "{ } | rate()", "--since", "10m", "--step", "10s")
    assert status == 0
    assert out.splitlines()[1].split() == ["service=a,", "ok=true", "4", "1", "4", "▁▃▆█"]
    _, out, _ = stretto("metrics", "{ } | rate()", "--instant", "--start", "100", "--end", "200")
    assert out.splitlines()[1].split() == ["service=a,", "ok=true", "4"]


def test_tags_and_values(stretto, backend):
    """A line each."""
    _, out, _ = stretto("tags", "--scope", "span")
    assert [line.split() for line in out.splitlines()] == [["SCOPE", "TAG"], ["span", "a"], ["span", "b"]]
    _, out, _ = stretto("values", "span.a b", "{ true }", "--limit", "3")
    assert [line.split() for line in out.splitlines()] == [["TYPE", "VALUE"], ["string", "x"], ["int", "5"]]
    assert (backend.asked[1]["query"], backend.asked[1]["limit"]) == ("{ true }", 3)


def test_tenant_and_token(stretto, backend, tmp_path):
    """Both are sent; the token comes from a file, where no list of processes shows it."""
    (tmp_path / "token").write_text("a1\n")
    token = ("--token-file", str(tmp_path / "token"))
    assert stretto("search", "--tenant", "acme", *token, multitenancy=True, credentials=CREDENTIALS)[0] == 0
    assert backend.asked[0]["tenant"] == "acme"
    status, _, err = stretto("search", multitenancy=True, credentials=CREDENTIALS)
    assert (status, err.startswith("stretto: 401: ")) == (1, True)
    status, _, err = stretto("search", "--token-file", str(tmp_path / "nothing"))
    assert (status, "No such file" in err) == (1, True)


def test_errors(stretto, backend, capsys):
    """The server's text, or where it was looked for; no traceback."""
    assert stretto("search", "--limit", "0") == (1, "", "stretto: 400: invalid limit '0': must be a positive number\n")
    assert main(["query", "search", "--url", "http://127.0.0.1:1"]) == 1
    assert "http://127.0.0.1:1 does not answer" in capsys.readouterr().err
    assert main(["query", "search", "--url", "file:///etc/passwd"]) == 1
    assert "expected http" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["query"], ["query", "search", "--since", "soon"], ["query", "nothing"]])
def test_wrong_arguments(arguments, capsys):
    """Status 2, as of every command."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: stretto query" in capsys.readouterr().err


def test_nothing_of_a_span_reaches_the_terminal():
    """Escape sequences are shown, long texts cut."""
    shown = tables.table(("A", "B"), [("\x1b[31mred\n", "x" * 500)])
    assert "\x1b" not in shown
    assert "\\x1b[31mred\\n" in shown
    assert max(map(len, shown.splitlines())) < 120


def test_tree():
    """Children under parents; an orphan at the top; a circle begins somewhere."""
    span = {"startTimeUnixNano": "1000000000", "endTimeUnixNano": "1250000000"}
    status = {"message": "no", "code": "STATUS_CODE_ERROR"}
    ids = [
        {"name": "root", "spanId": "AA==", **span},
        {"name": "child", "spanId": "AQ==", "parentSpanId": "AA==", **span, "status": status},
        {"name": "orphan", "spanId": "Ag==", "parentSpanId": "zz==", **span},
        {"name": "loop", "spanId": "Aw==", "parentSpanId": "BA==", **span},
        {"name": "back", "spanId": "BA==", "parentSpanId": "Aw==", **span},
    ]
    lines = tables.trace_tree({"resourceSpans": [{"scopeSpans": [{"spans": ids}]}]}).splitlines()[1:]
    assert [line.split("+")[0].rstrip() for line in lines] == ["root", "  child", "orphan", "back", "  loop"]
    assert "error: no" in lines[1]


def test_token_command(capsys):
    """A new token, and its hash for the file."""
    assert main(["token"]) == 0
    token, digest = (line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines())
    assert len(token) > 40
    assert digest.startswith("sha256:")


@pytest.mark.parametrize(("text", "want"), [("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800)])
def test_durations(text, want):
    assert duration_s(text) == want


@pytest.mark.parametrize("text", ["", "5", "h", "1.5h", "-1h", "1h 30m"])
def test_no_durations(text):
    with pytest.raises(ArgumentTypeError):
        duration_s(text)


def test_moments():
    """Relative, unix seconds, RFC 3339."""
    assert abs(moment_s("now-1h") - (time.time() - 3600)) < 5
    assert moment_s("1795259580") == 1_795_259_580
    assert moment_s("2026-11-21T15:04:05Z") == moment_s("2026-11-21T16:04:05+01:00")
    with pytest.raises(ArgumentTypeError):
        moment_s("yesterday")


@pytest.mark.parametrize(
    ("duration_ns", "want"),
    [
        (0, "0ns"),
        (999, "999ns"),
        (3_100, "3.1µs"),
        (74_000_000, "74ms"),
        (999_700_000, "1000ms"),
        (1_250_000_000, "1.25s"),
    ],
)
def test_shown_durations(duration_ns, want):
    assert shown_duration(duration_ns) == want


def test_shown_times():
    assert shown_time(1_795_259_583_400_883_124) == "2026-11-21 11:13:03.400"
