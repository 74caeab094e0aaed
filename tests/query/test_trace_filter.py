"""Which spans of a trace a filter keeps: the matches, and so many levels above and below them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.errors import TraceQLError, UnsupportedError
from query.requests import SpanSelection, TraceRequest
from query.trace.by_id import trace_by_id
from query.trace.filter import ALL_LEVELS, compile_filter
from tables.columns.in_memory import TableSource
from tests.query.golden import load_table

TRACE = """load
  t1 a    name=a kind=server duration=2s resource.service.name=web
  t1 b<a  name=b span.x=1
  t1 c<b  name=c span.x=2 event=boom@5ms
  t1 d<c  name=d resource.service.name=db status=error
  t1 e<a  name=e
  t1 f<e  name=f span.x=2
  t1 o<9  name=orphan
"""
T1 = b"t1".rjust(16, b"\0")


def kept(query: str, below: int = 0, above: int = 0, text: str = TRACE) -> str:
    whole = load_table(text)
    wanted = TraceRequest(trace_id=T1, filter=SpanSelection(query, below, above))
    table, more = trace_by_id([TableSource(whole)], wanted)
    assert more == (table is None or table.num_rows < whole.num_rows)
    return "" if table is None else "".join(sorted(name[0] for name in table["name"].to_pylist()))


@pytest.mark.parametrize(
    ("query", "below", "above", "names"),
    [
        ("{ }", 0, 0, "abcdefo"),
        ("{ span.x = 2 }", 0, 0, "cf"),
        ("{ span.x = 3 }", ALL_LEVELS, ALL_LEVELS, ""),
        ("{ name = `c` }", 0, ALL_LEVELS, "abc"),
        ("{ name = `c` }", 0, 1, "bc"),
        ("{ name = `b` }", 1, 0, "bc"),
        ("{ name = `b` }", 2, 0, "bcd"),
        ("{ name = `a` }", ALL_LEVELS, 0, "abcdef"),
        ("{ name = `c` }", 1, ALL_LEVELS, "abcd"),
        ("{ name = `d` || name = `f` }", 0, 1, "cdef"),
        ("{ name = `orphan` }", ALL_LEVELS, ALL_LEVELS, "o"),
        ("{ event:name = `boom` }", 0, 0, "c"),
        ("{ resource.service.name = `db` && status = error }", 0, 0, "d"),
        ("{ span.x = nil }", 0, 0, "adeo"),
    ],
)
def test_what_is_kept(query: str, below: int, above: int, names: str) -> None:
    """Levels count cumulatively; -1 is all of them."""
    assert kept(query, below, above) == names


SHARED = """load
  t1 r    name=r
  t1 a<r  name=client kind=client
  t1 a<r  name=server kind=server
  t1 b<a  name=below
"""


@pytest.mark.parametrize(
    ("name", "below", "above", "names"),
    [
        ("below", 0, ALL_LEVELS, "brs"),
        ("client", ALL_LEVELS, 0, "c"),
        ("client", ALL_LEVELS, ALL_LEVELS, "cr"),
        ("server", 1, 1, "brs"),
        ("r", 1, 0, "crs"),
    ],
)
def test_a_client_and_a_server_with_one_id(name: str, below: int, above: int, names: str) -> None:
    """Children are the server's here, too, as in structural queries."""
    assert kept(f'{{ name = "{name}" }}', below, above, SHARED) == names


@pytest.mark.parametrize("query", ["{ nonsense", "{ span.x = }", "hello"])
def test_wrong_queries(query: str) -> None:
    with pytest.raises(TraceQLError):
        compile_filter(query, 0, 0)


@pytest.mark.parametrize(
    "query",
    [
        "{ } | rate()",
        "{ } | count() > 1",
        "{ } | select(name)",
        "{ } >> { }",
        "{ } && { }",
        "{ } | by(name)",
        "{ rootName = `a` }",
        "{ traceDuration > 1s }",
        "{ nestedSetParent < 0 }",
        "{ span:childCount > 1 }",
    ],
)
def test_more_than_single_spans(query: str) -> None:
    """As Tempo: refused, never silently something else."""
    with pytest.raises(UnsupportedError, match="filter of single spans"):
        compile_filter(query, 0, 0)


def test_circles_end() -> None:
    """Spans that are each other's parents."""
    text = "load\n  t1 a<b name=a\n  t1 b<a name=b\n  t1 c name=c\n"
    assert kept("{ name = `a` }", ALL_LEVELS, ALL_LEVELS, text) == "ab"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10), st.integers(-1, 4), st.integers(-1, 4), st.integers(0, 9))
def test_as_step_by_step(parents: list[int], below: int, above: int, match: int) -> None:
    """Any forest, with circles: as many steps up or down as asked, one after the other."""
    names = "abcdefghij"
    lines = [f"  t1 {names[n]}{'<' + names[p] if p != n else ''} name={names[n]}" for n, p in enumerate(parents)]
    count, match = len(parents), match % len(parents)
    parent = {n: p for n, p in enumerate(parents) if p != n}
    wanted = {match}
    for levels, step in (
        (above, lambda edge: {parent[n] for n in edge if n in parent}),
        (below, lambda edge: {n for n, p in parent.items() if p in edge}),
    ):
        edge = {match}
        for _ in range(count if levels == ALL_LEVELS else levels):
            edge = step(edge)
            wanted |= edge
    text = "load\n" + "\n".join(lines) + "\n"
    expected = "".join(sorted(names[n] for n in wanted if n < count))
    assert kept(f"{{ name = `{names[match]}` }}", below, above, text) == expected
