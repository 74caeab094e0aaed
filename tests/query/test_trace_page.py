"""Pages of a trace: together all of it, each span once."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.scan.stitch import whole
from query.trace.pages import count_spans, cursor_of, place_of, trace_page
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import load_table

T1 = b"t1".rjust(16, b"\0")


def read(sources: list[TableSource], spans_max: int) -> list[dict[str, Any]]:
    """All pages, one after the other."""
    rows: list[dict[str, Any]] = []
    cursor, more = "", True
    while more:
        page, more = trace_page(sources, T1, place_of(cursor), spans_max)
        assert page is not None
        rows += page.select(["start_ns", "span_id", "name", "span.x:int"]).to_pylist()
        cursor = cursor_of((rows[-1]["start_ns"], rows[-1]["span_id"]))
    assert trace_page(sources, T1, place_of(cursor), spans_max) == (None, False)
    return rows


@settings(deadline=None, max_examples=examples(40))
@given(
    spans=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=20, unique=True),
    parts=st.integers(1, 3),
    spans_max=st.integers(1, 6),
)
def test_pages_are_the_whole_cut(spans: list[tuple[int, int]], parts: int, spans_max: int) -> None:
    """In order, whatever the sources and the size of a page; a source that is there twice adds nothing."""
    lines = [f"  t1 s{number}{start} start={start}s name=n{number} span.x={start}" for start, number in spans]
    table = load_table("\n".join(["load", *lines, "  t0 z", "  t2 z"]))
    order = [pa.array([i for i in range(table.num_rows) if i % parts == part]) for part in range(parts)]
    sources = [
        TableSource(whole(table.take(rows).sort_by([("trace_id", "ascending"), ("start_ns", "ascending")])))
        for rows in order
        if len(rows)
    ]
    sources.append(sources[0])
    all_of_it = find_trace(sources, T1)
    assert all_of_it is not None
    assert read(sources, spans_max) == all_of_it.select(["start_ns", "span_id", "name", "span.x:int"]).to_pylist()


def test_spans_alike_are_on_one_page() -> None:
    """A cursor cannot part spans with one start and id, though they differ."""
    tables = [load_table(f"load\n  t1 a start=0s name={name} span.x=1\n  t1 b start=1s span.x=2") for name in "xyz"]
    page, more = trace_page([TableSource(table) for table in tables], T1, None, 1)
    assert page is not None
    assert (sorted(page["name"].to_pylist()), more) == (["x", "y", "z"], True)


def test_only_the_page_is_read() -> None:
    """Sources before and after it are asked for starts and ids alone."""
    seen: list[list[str]] = []

    class Watched(TableSource):
        def read(self, columns, rows=None):  # type: ignore[no-untyped-def]
            seen.append(sorted(columns))
            return super().read(columns, rows)

    sources = [Watched(load_table(f"load\n  t1 s{at} start={at}s span.x=1")) for at in range(3)]
    page, more = trace_page(
        sources, T1, (sources[0].read(["start_ns"])["start_ns"][0].as_py(), b"s0".rjust(8, b"\0")), 1
    )
    assert page is not None
    assert (page["span_id"].to_pylist(), more) == ([b"s1".rjust(8, b"\0")], True)
    assert len([columns for columns in seen if len(columns) > 2]) == 1


def test_count() -> None:
    """Of all sources; of none that has the trace it is 0."""
    sources = [TableSource(load_table("load\n  t1 a\n  t1 b\n  t2 c")), TableSource(load_table("load\n  t1 d"))]
    assert count_spans(sources, T1) == 3
    assert count_spans(sources, bytes(16)) == 0
    assert trace_page(sources, bytes(16), None, 5) == (None, False)


@pytest.mark.parametrize("cursor", ["x", "5", "5-00", "99999999999999999999-0000000000000000", "5-000000000000000G"])
def test_bad_cursors(cursor: str) -> None:
    """Refused with a word of what to give."""
    with pytest.raises(ValueError, match="is not a cursor"):
        place_of(cursor)


@pytest.mark.parametrize("start_ns", [0, -5, 2**63 - 1, -(2**63)])
def test_cursor_round_trip(start_ns: int) -> None:
    """Any time that a span may have."""
    assert place_of(cursor_of((start_ns, b"\0\1\2\3\4\5\6\7"))) == (start_ns, b"\0\1\2\3\4\5\6\7")
