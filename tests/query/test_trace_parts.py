"""What workers give of a trace in two turns, joined, is what one worker with all of its spans gives."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.requests import SpanSelection, TraceRequest
from query.scan.arrays import to_numpy
from query.scan.stitch import whole
from query.trace.by_id import find_joined, trace_by_id
from query.trace.filter import ALL_LEVELS, compile_filter
from query.trace.outline import OUTLINE_COLUMNS
from query.trace.parts import DIGEST, JoinedFamily, JoinedOutline, digests_of_part, first_part, rows_of_part
from tables.columns.arrays import one_array
from tables.columns.in_memory import TableSource
from tables.columns.row_digests import row_digests
from tests.query.golden import load_table

T1 = b"t1".rjust(16, b"\0")
Parts = Sequence[Sequence[Any]]


def outline_of(parts: Parts, request: TraceRequest) -> pa.Table | None:
    firsts = [(sources, found) for sources in parts if (found := first_part(sources, request)).table is not None]
    if not firsts:
        return None
    joined = JoinedOutline([found.table for _, found in firsts], request.trace_id)
    digests = {}
    for number, rows in joined.asks().items():
        sources, first = firsts[number]
        further = digests_of_part(sources, request.trace_id, rows)
        assert further.spans == first.spans
        digests[number] = to_numpy(one_array(further.table[DIGEST]))
    return joined.finish(digests)


def filtered_of(parts: Parts, request: TraceRequest) -> tuple[pa.Table | None, bool]:
    assert request.filter is not None
    wanted = compile_filter(request.filter.query, request.filter.below, request.filter.above)
    firsts = [(sources, found) for sources in parts if (found := first_part(sources, request)).spans]
    if not firsts:
        return None, False
    spans, kept = sum(found.spans for _, found in firsts), sum(found.kept for _, found in firsts)
    tables = [found.table for _, found in firsts]
    if wanted.has_family:
        asks = JoinedFamily(tables, request.trace_id, wanted).asks()
        tables = [rows_of_part(firsts[number][0], request.trace_id, rows).table for number, rows in asks.items()]
        kept = sum(map(len, asks.values()))
    return find_joined([table for table in tables if table is not None], request.trace_id), kept < spans


def same(one: pa.Table | None, other: pa.Table | None, columns: Sequence[str]) -> bool:
    if one is None or other is None:
        return one is other
    have = [name for name in columns if name in one.column_names or name in other.column_names]
    return all(values(one, name) == values(other, name) for name in have)


def values(table: pa.Table, name: str) -> list[Any]:
    found = table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
    # Of events and links an outline has only what a picture shows.
    return [len(one or ()) for one in found] if name in {"events", "links"} else found


NAMES = "abcdefgh"
FORESTS = st.lists(
    st.tuples(
        st.integers(0, 7),  # id
        st.integers(0, 8),  # parent; 8: none
        st.sampled_from(["", " span.x=1", " span.x=2", " event=boom@5ms", " kind=server", " status=error"]),
        st.integers(0, 2),  # start
        st.sets(st.integers(0, 3), min_size=1, max_size=2),  # in which parts; in two: sent twice
    ),
    min_size=1,
    max_size=9,
)


@given(FORESTS, st.integers(-1, 2), st.integers(-1, 2), st.sampled_from(["span.x = 1", "status = error", "true"]))
def test_as_of_one_worker(forest: list[Any], below: int, above: int, condition: str) -> None:
    """Any forest over any places, with spans that a client sent twice, in the same place or in another one."""
    lines: list[list[str]] = [[], [], [], []]
    for number, parent, more, start, places in forest:
        above_it = f"<{NAMES[parent]}" if parent < 8 else ""
        for place in places:
            lines[place].append(f"  t1 {NAMES[number]}{above_it} name={NAMES[number]} start={start}s{more}")
    sources = [TableSource(whole(load_table("load\n" + "\n".join(some) + "\n"))) for some in lines if some]
    apart = [sources[:1], sources[1:3], sources[3:]]
    outline = TraceRequest(trace_id=T1, outline=True)
    assert same(outline_of(apart, outline), trace_by_id(sources, outline)[0], OUTLINE_COLUMNS)
    wanted = TraceRequest(trace_id=T1, filter=SpanSelection(f"{{ {condition} }}", below, above))
    (table, more), (expected, left_out) = filtered_of(apart, wanted), trace_by_id(sources, wanted)
    assert more == left_out
    sent = [] if expected is None else sorted({"name", "span.x:int", "events", "parent_span_id", "start_ns"})
    assert same(table, expected, sent)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"name": ["a"]}, {"name": ["a"]}, True),
        ({"name": ["a"]}, {"name": ["b"]}, False),
        ({"name": ["a"]}, {"name": ["a"], "span.x:int": pa.array([None], pa.int64())}, True),
        ({"name": ["a"]}, {"name": ["a"], "span.x:int": [0]}, False),
        ({"span.x:int": [1]}, {"span.y:int": [1]}, False),
        (
            {"name": ["a"], "events": pa.array([None], pa.list_(pa.struct({"name": pa.string()})))},
            {"name": ["a"]},
            True,
        ),
        ({"name": ["a"], "events": [[{"name": "e"}]]}, {"name": ["a"]}, False),
        ({"events": [[{"name": "e"}]]}, {"events": [[{"name": "f"}]]}, False),
        ({"events": [[{"name": "e"}, {"name": "f"}]]}, {"events": [[{"name": "f"}, {"name": "e"}]]}, False),
        ({"trace_state": [""]}, {"name": pa.array([None], pa.string())}, True),
        ({"name": ["a"], "nested_left": [1]}, {"name": ["a"], "nested_left": [7]}, True),
    ],
)
def test_digests(one: dict[str, Any], other: dict[str, Any], equal: bool) -> None:
    """Equal where all that a client sent is: a column without a value, facts and dictionaries count for nothing."""
    first, second = (
        {name: array if isinstance(array, pa.Array) else pa.array(array) for name, array in columns.items()}
        for columns in (one, other)
    )
    assert (row_digests(first, 1) == row_digests(second, 1)).all() == equal
    coded = {
        name: array.dictionary_encode() if pa.types.is_string(array.type) else array for name, array in first.items()
    }
    assert (row_digests(coded, 1) == row_digests(first, 1)).all()


def test_all_levels_of_a_family_that_lies_apart() -> None:
    """Parents are found where they are."""
    lines = ["  t1 a name=a", "  t1 b<a name=b", "  t1 c<b name=c", "  t1 d<c name=d", "  t1 e<a name=e"]
    parts = [[TableSource(whole(load_table(f"load\n{line}\n")))] for line in lines]
    request = TraceRequest(trace_id=T1, filter=SpanSelection("{ name = `c` }", 1, ALL_LEVELS))
    table, more = filtered_of(parts, request)
    assert table is not None
    assert (sorted(table["name"].to_pylist()), more) == (["a", "b", "c", "d"], True)
