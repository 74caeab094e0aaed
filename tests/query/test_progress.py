"""What is told before the end: the first rows of the answer and the samples that no other source can change."""

import math
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.metrics.metrics import metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest
from query.scan import pieces
from query.scan.profile import Profile
from query.scan.progress import Progress, QueryObserver
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.query.golden import START_NS, S, load_table
from tests.query.sources import LOAD, by_time, traces
from tests.query.strategies import END, LEAVES, SERIES, SPANSETS, STAGES, START, STEP_NS, spans

QUERIES = st.tuples(SPANSETS | st.just("{ }"), st.lists(STAGES, max_size=1)).map(
    lambda parts: " | ".join([parts[0], *parts[1]])
)


def reply(ask: Any, sources: list[TableSource], request: Any) -> tuple[Any, list[Any]]:
    """The answer, and what was told before, after each source."""
    heard: list[Any] = []
    return ask(sources, request, observer=QueryObserver(progress=Progress(heard.append, 0, math.inf))), heard


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spans(), QUERIES, st.integers(1, 4), st.integers(1, 5), st.sampled_from([None, ""]))
def test_told_traces_begin_the_answer(table: pa.Table, query: str, parts: int, limit: int, cursor: str | None) -> None:
    """Each time more of it, word for word; and the answer is that of one source."""
    with patch.object(pieces, "_TOGETHER", 1):
        answer, heard = reply(search, by_time(table, parts), SearchRequest(query=query, limit=limit, cursor=cursor))
    assert list(answer.traces) == list(search([TableSource(table)], SearchRequest(query=query, limit=limit)).traces)
    counts = [len(early.traces) for early in heard]
    assert counts == sorted(counts)
    assert all(list(early.traces) == list(answer.traces[: len(early.traces)]) for early in heard)
    assert all(early.inspected.left > 0 for early in heard)


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spans(), LEAVES | SERIES, st.integers(1, 4))
def test_told_samples_are_in_the_answer(table: pa.Table, query: str, parts: int) -> None:
    """With the same values; a series is missing in it as little as a sample."""
    asked = {"start_ns": START, "end_ns": END, "step_ns": STEP_NS}
    answer, heard = reply(metrics_range, by_time(table, parts), RangeRequest(query=query, **asked))
    samples = [(line.labels, sample) for line in answer.series for sample in line.samples]
    for early in heard:
        for line in early.series:
            assert all((line.labels, sample) in samples for sample in line.samples)


def test_newest_rows_come_first() -> None:
    """Before the older sources are looked at; a trace that reaches into one of them waits for it."""
    answer, heard = reply(search, by_time(load_table(LOAD), 4), SearchRequest(query="{ }", limit=12))
    assert [traces(early)[-1:] for early in heard] == [["t09"], ["t06"], ["t03"]]
    assert [(early.inspected.sources, early.inspected.left) for early in heard] == [(1, 3), (2, 2), (3, 1)]
    assert (len(answer.traces), answer.inspected.left) == (12, 0)


@pytest.mark.parametrize(
    ("options", "sources"),
    [
        pytest.param({"limit": 2}, 1, id="the newest source has them"),
        pytest.param({"limit": 4}, 2, id="two"),
        pytest.param({"limit": 2, "cursor": ""}, 1, id="a page, and that there is another"),
        pytest.param({"limit": 2, "total": True}, 4, id="all are counted"),
        pytest.param({"limit": 2, "order": "duration"}, 4, id="any may have taken longest"),
    ],
)
def test_older_sources_are_left_alone(options: dict[str, Any], sources: int) -> None:
    """Once the newest traces are found, unless all that match are wanted."""
    profile = Profile()
    answer = search(
        by_time(load_table(LOAD), 4), SearchRequest(query="{ }", **options), observer=QueryObserver(profile=profile)
    )
    assert (answer.inspected.sources, profile.unneeded, profile.outside) == (sources, 4 - sources, 0)


def test_latest_samples_come_first() -> None:
    """One more source, some more intervals; the zeros of what is not read yet are not told."""
    asked = {"start_ns": START_NS, "end_ns": START_NS + 12 * S, "step_ns": S}
    answer, heard = reply(
        metrics_range, by_time(load_table(LOAD), 4), RangeRequest(query="{ } | count_over_time()", **asked)
    )
    (series,) = answer.series
    for early, count in zip(heard, (3, 6, 9), strict=True):
        assert [line.samples for line in early.series] == [series.samples[-count:]]


@pytest.mark.parametrize("query", ["{ } | rate() | topk(1)", '{ } | compare({ name = "a" })'])
def test_no_samples_that_others_may_displace(query: str) -> None:
    """Then it is only told how much is left."""
    asked = {"start_ns": START_NS, "end_ns": START_NS + 12 * S, "step_ns": S}
    _, heard = reply(metrics_range, by_time(load_table(LOAD), 4), RangeRequest(query=query, **asked))
    assert [(early.series, early.inspected.left) for early in heard] == [((), 3), ((), 2), ((), 1)]


def test_instant_has_no_early_value() -> None:
    """Its one sample is about all."""
    asked = {"start_ns": START_NS, "end_ns": START_NS + 12 * S}
    _, heard = reply(metrics_instant, by_time(load_table(LOAD), 4), InstantRequest(query="{ } | rate()", **asked))
    assert [early.series for early in heard] == [(), (), ()]


def test_not_too_often() -> None:
    """The first time at once, then after a while."""
    heard: list[Any] = []
    search(
        by_time(load_table(LOAD), 4),
        SearchRequest(query="{ }", limit=12),
        observer=QueryObserver(progress=Progress(heard.append, 60)),
    )
    assert len(heard) == 1
