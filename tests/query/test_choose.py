"""Search beyond Tempo: the longest traces, how many there are in all, and pages."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query.requests import SearchRequest
from query.search.search import search
from tests.helpers.examples import examples
from tests.query.golden import START_NS
from tests.query.sources import MS, SPLIT, TRACES, sources, traces

ONE = "{ span.x = 1 }"


@pytest.mark.parametrize("parts", [(), SPLIT], ids=["one source", "three sources"])
def test_longest_first(parts: tuple[list[int], ...]) -> None:
    """By the whole trace's duration, then by id; the newest comes last here."""
    split = sources(TRACES, *parts)
    assert traces(search(split, SearchRequest(query=ONE, order="duration"))) == ["t1", "t2", "t3", "t4"]
    assert traces(search(split, SearchRequest(query=ONE, order="duration", limit=1))) == ["t1"]


@pytest.mark.parametrize("parts", [(), SPLIT], ids=["one source", "three sources"])
@pytest.mark.parametrize(
    ("query", "options", "total"),
    [
        pytest.param(ONE, {}, 4, id="more than the limit"),
        pytest.param(ONE, {"limit": 0}, 4, id="only the count"),
        pytest.param(ONE, {"start_ns": START_NS + 210 * MS}, 3, id="of the window only"),
        pytest.param("{ span.x = 2 }", {}, 0, id="none"),
        pytest.param(ONE, {"cursor": f"start-{START_NS + 200 * MS}-{b't2'.rjust(16, bytes(1)).hex()}"}, 4, id="a page"),
    ],
)
def test_total(query: str, options: dict[str, Any], total: int, parts: tuple[list[int], ...]) -> None:
    """All traces that match and overlap the window are counted once, whatever the limit and the page."""
    assert (
        search(sources(TRACES, *parts), SearchRequest(query=query, **{"limit": 2, **options}, total=True)).total
        == total
    )


def test_nothing_more_unless_it_is_asked() -> None:
    """As Tempo: no count, no cursor."""
    result = search(sources(TRACES), SearchRequest(query=ONE, limit=1))
    assert (result.total, result.next_cursor) == (None, None)


@settings(deadline=None, max_examples=examples(40))
@given(
    starts=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    lengths=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    limit=st.integers(1, 5),
    order=st.sampled_from(["start", "duration"]),
)
def test_pages_are_the_whole_answer_cut(starts: list[int], lengths: list[int], limit: int, order: Any) -> None:
    """One after the other they hold each trace once, in the order of one large answer; the last has no cursor."""
    rows = [f"  t{i:02} a start={start}s duration={lengths[i]}s span.x=1" for i, start in enumerate(starts)]
    split = sources("load\n" + "\n".join(rows), list(range(0, len(rows), 2)), list(range(1, len(rows), 2)) or [0])
    whole = traces(search(split, SearchRequest(query=ONE, order=order, limit=100)))
    cursor: str | None = ""
    paged: list[str] = []
    while cursor is not None:
        page = search(split, SearchRequest(query=ONE, order=order, limit=limit, cursor=cursor))
        assert 0 < len(page.traces) <= limit
        paged += traces(page)
        cursor = page.next_cursor
    assert paged == whole


def test_a_page_does_not_move_when_traces_arrive() -> None:
    """Newer ones belong before it."""
    first = search(sources(TRACES), SearchRequest(query=ONE, limit=2, cursor=""))
    later = sources(TRACES + "  t9 a start=900ms span.x=1\n")
    assert traces(search(later, SearchRequest(query=ONE, limit=2, cursor=first.next_cursor))) == ["t2", "t1"]


@pytest.mark.parametrize(
    ("cursor", "problem"),
    [
        pytest.param("x", "not a cursor", id="nonsense"),
        pytest.param(f"start-99999999999999999999-{'0' * 32}", "not a cursor", id="too many digits"),
        pytest.param(f"start-9999999999999999999-{'0' * 32}", "not a cursor", id="more than 64 bits"),
        pytest.param(f"start-1-{'0' * 31}", "not a cursor", id="no trace id"),
        pytest.param(f"duration-1-{'0' * 32}", "is for the order 'duration'", id="of another order"),
    ],
)
def test_bad_cursors(cursor: str, problem: str) -> None:
    """Refused before anything is read."""
    with pytest.raises(ValueError, match=problem):
        search([], SearchRequest(query=ONE, cursor=cursor))
