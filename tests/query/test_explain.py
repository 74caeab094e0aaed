"""What is said of how a query is run."""

import pytest

from query.errors import TraceQLError
from query.explain import explain, lines
from query.metrics.metrics import metrics_range
from query.requests import RangeRequest, SearchRequest
from query.scan.profile import Profile
from query.scan.progress import QueryObserver
from query.search.search import search
from tests.query.documented import examples
from tests.query.golden import START_NS, S
from tests.query.sources import SPLIT, TRACES, sources


@pytest.mark.parametrize("query", examples("traceql"))
def test_every_query_is_explained_and_its_text_is_a_query(query: str) -> None:
    """The normalised text means what the query means: it is its own normal form."""
    for part in explain(query):
        (again,) = explain(part.query)
        assert (again.query, again.steps, again.whole_traces) == (part.query, part.steps, part.whole_traces)
        assert list(lines([part]))


def test_cheap_conditions_come_first() -> None:
    """Constants are worked out, only columns of the constant's type are read."""
    (part,) = explain('{ name =~ "a.*" && span.x = 1 && duration > 2 * 100ms && 1 < 2 }')
    assert [step.what for step in part.steps] == ["duration > 200ms", "span.x = 1", "name =~ `a.*`"]
    assert part.steps[1].columns == ("span.x:int", "span.x:int[]")
    assert part.steps[2].pruned_by == ()
    assert not part.whole_traces
    assert part.time_columns == ("trace_start_ns", "trace_duration_ns")


def test_faulty_queries_are_refused() -> None:
    """As when they are run."""
    with pytest.raises(TraceQLError):
        explain("{ nosuch = 1 }")


def test_profile_of_a_search() -> None:
    """Sources are outside of the time range, decided without a column, or scanned."""
    split = sources(TRACES, [0, 1], [3], [4, 5])
    profile = Profile()
    search(
        split,
        SearchRequest(query="{ span.x > 0 }", start_ns=START_NS + S // 4),
        observer=QueryObserver(profile=profile),
    )
    assert (profile.outside, profile.decided, profile.scanned) == (2, 0, 1)
    assert profile.rows == 2
    assert profile.columns["span.x:int"] == 1
    assert profile.bytes > 0
    assert list(profile.stages) == ["compile", "find shared traces", "evaluate", "choose traces", "describe traces"]
    decided = Profile()
    assert not search(
        split, SearchRequest(query="{ span.x > 1 || span.nosuch = 1 }"), observer=QueryObserver(profile=decided)
    ).traces
    assert (decided.outside, decided.decided, decided.scanned, decided.rows) == (0, 3, 0, 0)


def test_profile_of_metrics() -> None:
    """The same for series; traces that lay in several sources are counted once more."""
    profile = Profile()
    query = "{ } | by(name) | rate()"
    metrics_range(
        sources(TRACES, *SPLIT),
        RangeRequest(query=query, start_ns=START_NS, end_ns=START_NS + 10 * S, step_ns=S),
        observer=QueryObserver(profile=profile),
    )
    assert (profile.scanned, profile.stitched) == (4, True)
    assert {"evaluate", "merge", "make series"} <= set(profile.stages)
