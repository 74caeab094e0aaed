"""The outline of a trace, and which of its spans match: over one source or several."""

import pyarrow as pa
import pytest

from query.errors import TraceQLError, UnsupportedError
from query.requests import SpanMatching, TraceRequest
from query.scan.stitch import whole
from query.trace.by_id import trace_by_id
from query.trace.outline import OUTLINE_COLUMNS, matching_spans, trace_outline
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tests.query.golden import load_table

TRACE = """load
  t0 z    name=z
  t1 a    name=a start=0s kind=server duration=2s resource.service.name=web
  t1 b<a  name=b start=1s span.x=1 span.http.route=/Cart
  t1 c<b  name=c start=2s span.x=2 event=boom@5ms
  t1 d<c  name=d start=3s resource.service.name=db status=error
  t1 o<9  name=orphan start=4s
"""
T1 = b"t1".rjust(16, b"\0")


def sources(parts: int = 1, text: str = TRACE) -> list[TableSource]:
    table = load_table(text)
    picks = [[row for row in range(table.num_rows) if row % parts == part] for part in range(parts)]
    return [TableSource(whole(table.take(pa.array(rows)))) for rows in picks]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_outline_is_the_trace(parts: int) -> None:
    """The same rows and values as the whole trace has, with the whole trace's numbers, whatever the sources."""
    given = sources(parts)
    outline, wanted = trace_outline(given, T1), find_trace(given, T1)
    assert outline is not None
    assert wanted is not None
    for column in set(OUTLINE_COLUMNS) & set(wanted.column_names) & set(outline.column_names):
        assert outline[column].to_pylist() == wanted[column].to_pylist(), column
    assert {"nested_left", "nested_parent", "name", "resource.service.name", "events"} <= set(outline.column_names)
    assert not any(name.startswith("span.") for name in outline.column_names)


def test_sent_twice() -> None:
    """A span that a client sent again is there once; one that differs only in an attribute is there, too."""
    line = "  t1 a name=a start=1s span.x={}\n"
    assert [
        table.num_rows
        for table in (
            trace_outline(sources(1, "load\n" + "".join(line.format(x) for x in values)), T1)
            for values in ([1, 1], [1, 2])
        )
        if table is not None
    ] == [1, 2]


def test_unknown() -> None:
    """No span of the trace anywhere is None, not an empty trace."""
    assert trace_outline(sources(), b"no".rjust(16, b"\0")) is None
    for wanted in (SpanMatching("{ }"), SpanMatching("", "x")):
        assert matching_spans(sources(), b"no".rjust(16, b"\0"), wanted) is None


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    ("query", "text", "names"),
    [
        ("{ }", "", "abcdo"),
        ("", "", "abcdo"),
        ("{ span.x = 2 }", "", "c"),
        ("{ span.x = 3 }", "", ""),
        ("{ status = error }", "", "d"),
        ("{ duration >= 2s }", "", "a"),
        ("", "cart", "b"),
        ("", "ORPHAN", "o"),
        ("", "boom", "c"),
        ("", "http.route", "b"),
        ("", "http.route=/ca", "b"),
        ("", "x=2", "c"),
        ("", "web", "a"),
        ("{ span.x > 0 }", "cart", "b"),
        ("{ span.x > 0 }", "orphan", ""),
    ],
)
def test_matching(query: str, text: str, names: str, parts: int) -> None:
    """A filter and a text: spans that fit both."""
    request = TraceRequest(trace_id=T1, matching=SpanMatching(query, text))
    found, more = trace_by_id(sources(parts), request)
    assert found is not None
    assert not more
    spans = find_trace(sources(), T1)
    assert spans is not None
    named = dict(zip(spans["span_id"].to_pylist(), spans["name"].to_pylist(), strict=True))
    assert "".join(sorted(named[span][0] for span in found["span_id"].to_pylist())) == names


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("{ nonsense", TraceQLError),
        ("{ } | count() > 1", UnsupportedError),
        ("{ rootName = `a` }", UnsupportedError),
        ("{ nestedSetParent = -1 }", UnsupportedError),
    ],
)
def test_refused(query: str, error: type[Exception]) -> None:
    """Only a filter of single spans, as for a part of a trace."""
    with pytest.raises(error):
        matching_spans(sources(), T1, SpanMatching(query))
