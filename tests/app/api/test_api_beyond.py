"""What the API has beyond Tempo, only where it is asked for: order, total, pages, large traces, debugging, protobuf."""

import itertools
import json
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from app.api.debug import HEADER_CHARS_MAX, debug_text
from app.api.proto import tempo_pb2 as pb
from app.api.tempo.traces import NEXT_CURSOR
from query.scan.profile import Profile
from query.scan.stitch import whole
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tables.wire.otlp.writer import to_resource_spans
from tests.helpers.querying.engine import Engine
from tests.helpers.tempo.frozen import strictly
from tests.query.golden import START_NS, load_table
from tests.query.sources import LOAD, by_time

ID = b"big".rjust(16, b"\0")
PROTOBUF = {"Accept": "application/protobuf"}
RANGE = {"start": str(START_NS), "end": str(START_NS + 12 * 10**9), "step": "1s"}


@pytest.fixture
def backend() -> Engine:
    """Four sources that follow each other, with twelve traces."""
    return Engine(by_time(load_table(LOAD), 4))


def ids(body: dict[str, Any]) -> list[str]:
    return [bytes.fromhex(trace["traceID"].rjust(32, "0")).lstrip(b"\0").decode() for trace in body["traces"]]


# ---- search


def test_nothing_unless_asked(ask):
    """No field that Grafana's strict parser does not know, and no header."""
    answer = ask("/api/search", params={"q": "{ }", "limit": "2"})
    strictly(answer.body, "SearchResponse")
    assert not [name for name in answer.headers if name.lower().startswith("x-stretto")]


def test_total(ask):
    """All that match are counted."""
    body = json.loads(ask("/api/search", params={"q": "{ }", "limit": "2", "total": "true"}).body)
    assert (len(body["traces"]), body["totalTraces"]) == (2, 12)
    none = json.loads(ask("/api/search", params={"q": "{ name = `no` }", "total": "true"}).body)
    assert (none["traces"], none["totalTraces"]) == ([], 0)


@pytest.mark.parametrize("order", ["start", "duration"])
def test_pages(ask, order):
    """Each goes on where the one before ended; the last has no cursor."""
    whole_answer = json.loads(ask("/api/search", params={"q": "{ }", "order": order}).body)
    paged, cursor = [], ""
    while cursor is not None:
        body = json.loads(ask("/api/search", params={"q": "{ }", "limit": "5", "order": order, "cursor": cursor}).body)
        paged += ids(body)
        cursor = body.get("nextCursor")
    assert paged == ids(whole_answer)
    assert len(paged) == 12


@pytest.mark.parametrize(
    ("params", "word"),
    [
        pytest.param({"order": "size"}, "start or duration", id="order"),
        pytest.param({"total": "1"}, "true or false", id="total"),
        pytest.param({"cursor": "x"}, "not a cursor", id="cursor"),
        pytest.param({"cursor": f"duration-5-{'0' * 32}"}, "is for the order 'duration'", id="cursor of another order"),
    ],
)
def test_bad_parameters(ask, params, word):
    """400, with what it may be."""
    answer = ask("/api/search", params={"q": "{ }", **params})
    assert (answer.status, word in answer.text) == (400, True)


# ---- large traces


@pytest.fixture(scope="module")
def segments() -> list[TableSource]:
    """A trace of 20,000 spans of two services in five sources, whose times overlap; other traces beside it."""
    rows = 20_000
    number = pa.array(range(rows))
    table = pa.table(
        {
            "trace_id": pa.array([ID] * rows, pa.binary(16)),
            "span_id": pa.array([(7 * i % rows + 1).to_bytes(8, "big") for i in range(rows)], pa.binary(8)),
            "parent_span_id": pa.array([bytes(8)] * rows, pa.binary(8)),
            "name": [f"op {i % 50}" for i in range(rows)],
            "kind": pa.array([1] * rows, pa.int8()),
            "start_ns": pa.array([START_NS + i // 3 * 1000 for i in range(rows)]),
            "duration_ns": pa.array([1_000_000] * rows),
            "status_code": pa.array([0] * rows, pa.int8()),
            "resource.service.name": ["web" if i % 2 else "db" for i in range(rows)],
            "span.n:int": number,
        }
    )
    other = load_table("load\n  a a\n  zz z")
    parts = [
        table.filter(pa.compute.equal(pa.compute.bit_wise_and(pa.compute.shift_right(number, 11), 3), part))
        for part in range(4)
    ]
    tables = [pa.concat_tables([part, other], promote_options="default") for part in (*parts, table.slice(0, 500))]
    order = [("trace_id", "ascending"), ("start_ns", "ascending")]
    return [TableSource(whole(part.combine_chunks().sort_by(order))) for part in tables]


@pytest.fixture
def large(backend, segments):
    """The same backend over the large trace."""
    backend.__init__(segments)
    return to_resource_spans(find_trace(segments, ID))


def spans_of(groups: list[Any]) -> list[bytes]:
    return sorted(
        span.SerializeToString() + group.resource.SerializeToString() + scope.scope.SerializeToString()
        for group in groups
        for scope in group.scope_spans
        for span in scope.spans
    )


@pytest.mark.parametrize("path", ["/api/v2/traces/", "/api/traces/"])
def test_too_large(ask, large, path):
    """422, and the text says the size, the limit, its setting, and how to read the trace all the same."""
    size = sum(group.ByteSize() for group in large)
    answer = ask(path + ID.hex(), max_bytes_per_trace=size - 1)
    assert answer.status == 422
    words = [str(size), str(size - 1), "20000 spans", "max_bytes_per_trace", "cursor", "stretto query trace"]
    assert [word for word in words if word not in answer.text] == []
    assert ask(path + ID.hex(), max_bytes_per_trace=size).status == 200
    assert ask(path + ID.hex(), max_bytes_per_trace=0).status == 200


@pytest.mark.parametrize(
    ("limit", "settings"),
    [
        pytest.param("3000", {}, id="so many spans"),
        pytest.param("", {"max_spans_per_page": 7000}, id="as many as the setting allows"),
        pytest.param("", {"max_bytes_per_trace": 500_000}, id="so many bytes"),
    ],
)
def test_trace_in_pages(ask, large, limit, settings):
    """Together they are the whole trace, each page by start, none larger than it may be."""
    pages, cursor = [], ""
    while cursor is not None:
        params = {"cursor": cursor, "limit": limit}
        answer = ask(f"/api/v2/traces/{ID.hex()}", headers=PROTOBUF, params=params, **settings)
        assert answer.status == 200
        # TraceByIDResponse has its trace first: a tag, its length in up to four bytes, and at its end empty metrics.
        pages.append(TracesData.FromString(_first_field(answer.body)).resource_spans)
        cursor = answer.headers.get(NEXT_CURSOR)
    assert spans_of([group for page in pages for group in page]) == spans_of(large)
    times = [
        [span.start_time_unix_nano for group in page for scope in group.scope_spans for span in scope.spans]
        for page in pages
    ]
    assert all(max(before) <= min(after) for before, after in itertools.pairwise(times))
    assert len(pages) > 2
    assert all(len(page) <= int(limit or settings.get("max_spans_per_page", 10_000)) for page in times)
    most = settings.get("max_bytes_per_trace", 2**31)
    assert all(sum(group.ByteSize() for group in page) <= most for page in pages)


def _first_field(body: bytes) -> bytes:
    assert body[0] == 1 << 3 | 2
    length, at, shift = 0, 1, 0
    while True:
        length |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return body[at : at + length]


def test_first_page_in_json(ask, large):
    """The next cursor is in the body, too; v1 has the same pages."""
    for path, spans in (
        ("/api/v2/traces/", lambda body: body["trace"]["resourceSpans"]),
        ("/api/traces/", lambda body: body["batches"]),
    ):
        answer = ask(path + ID.hex(), params={"cursor": "", "limit": "10"})
        body = json.loads(answer.body)
        assert body["nextCursor"] == answer.headers[NEXT_CURSOR]
        # Ten rows: here each span was sent twice.
        assert sum(len(scope["spans"]) for group in spans(body) for scope in group["scopeSpans"]) == 5


@pytest.mark.parametrize(
    ("params", "word"),
    [
        pytest.param({"cursor": "x"}, "not a cursor", id="cursor"),
        pytest.param({"cursor": "", "limit": "0"}, "max_spans_per_page", id="no spans"),
        pytest.param({"cursor": "", "limit": "10001"}, "max_spans_per_page", id="too many"),
        pytest.param({"cursor": "", "limit": "x"}, "limit", id="no number"),
    ],
)
def test_bad_pages(ask, params, word):
    """400, with what it may be."""
    answer = ask(f"/api/v2/traces/{ID.hex()}", params=params)
    assert (answer.status, word in answer.text) == (400, True)


def test_page_of_an_unknown_trace(ask):
    """As the whole would be."""
    assert json.loads(ask("/api/v2/traces/77", params={"cursor": ""}).body) == {"trace": {}, "metrics": {}}
    assert ask("/api/traces/77", params={"cursor": ""}).status == 404


# ---- debugging


@pytest.mark.parametrize(
    ("path", "query", "step"),
    [
        pytest.param("/api/search", "{ name = `x` && duration > 1s }", "duration > 1s", id="search"),
        pytest.param("/api/search", "", None, id="search for all"),
        pytest.param("/api/metrics/query_range", "{ name = `a` } | rate()", "name", id="range"),
        pytest.param("/api/metrics/query", "{ } | rate() by (name)", "name", id="instant"),
    ],
)
def test_debug(ask, path, query, step):
    """The header tells the plan, what was read, and how long each stage took; the body is as without it."""
    params = {**({"q": query} if query else {}), **({} if path == "/api/search" else RANGE)}
    answer = ask(path, params=params, headers={"X-Stretto-Debug": "1"})
    reply = json.loads(answer.headers["X-Stretto-Debug"])
    assert set(reply) == {"profile", "plan"}
    steps = [one["what"] for part in reply["plan"] for one in part["steps"]]
    assert step is None or any(step in what for what in steps)
    groups = reply["profile"]["rowGroups"]
    assert sum(groups.values()) == 4
    assert set(groups) == {"outside", "unneeded", "decided", "scanned"}
    assert reply["profile"]["stagesMs"]
    again, body = json.loads(ask(path, params=params).body), json.loads(answer.body)
    # The second time some of it is in caches.
    assert (again.pop("metrics") != {}, body.pop("metrics") != {}) == (True, True)
    assert again == body
    assert "X-Stretto-Debug" not in ask(path, params=params, headers={"X-Stretto-Debug": "0"}).headers


def test_debug_is_short():
    """Whatever the query is, and in ASCII: it is a header."""
    query = "{ " + " || ".join(f'.ключ{i} = "{"я" * 50}"' for i in range(100)) + " }"
    profile = Profile(columns={f"span.{'k' * 500}{i}": 1 for i in range(100)})
    text = debug_text(query, profile)
    assert len(text) <= HEADER_CHARS_MAX
    assert text.isascii()
    assert json.loads(text)["cut"] is True


# ---- protobuf


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/api/search?q={}", pb.SearchResponse),
        ("/api/search/tags", pb.SearchTagsResponse),
        ("/api/v2/search/tags", pb.SearchTagsV2Response),
        ("/api/search/tag/name/values", pb.SearchTagValuesResponse),
        ("/api/v2/search/tag/name/values", pb.SearchTagValuesV2Response),
        (f"/api/metrics/query_range?q={{}}|rate()&start={START_NS}&end={START_NS + 10**10}", pb.QueryRangeResponse),
        (f"/api/metrics/query?q={{}}|rate()&start={START_NS}&end={START_NS + 10**10}", pb.QueryInstantResponse),
    ],
)
def test_protobuf(ask, path, message):
    """Where the client accepts it, every answer comes as Tempo's message; it says what the JSON says."""
    from google.protobuf import json_format

    answer = ask(path, headers=PROTOBUF)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/protobuf")
    want = json_format.Parse(ask(path).body, message())
    got = message.FromString(answer.body)
    got.metrics.Clear(), want.metrics.Clear()
    assert got == want
    assert got.ByteSize() > 0
