"""Grafana Tempo's recorded answers about 3,121 spans, asked of the engine itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from query.errors import TraceQLError
from query.language.words import duration_ns
from query.metrics.metrics import metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest
from query.scan.stitch import whole
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.helpers.querying.otlp_rows import read_messages, span_table
from tests.helpers.tempo.reference import (
    SPANS,
    answered,
    answered_series,
    cases,
    recorded,
    recorded_series,
    same,
)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return span_table(read_messages(SPANS))


@pytest.fixture(scope="module", params=[1, 4], ids=["one source", "every trace in four sources"])
def sources(table: pa.Table, request: pytest.FixtureRequest) -> list[TableSource]:
    number = np.random.default_rng(1).integers(0, request.param, table.num_rows)
    return [TableSource(whole(table.filter(pa.array(number == part)))) for part in range(request.param)]


def differing(group: str, agrees: Callable[[dict[str, Any], dict[str, Any]], bool]) -> list[int]:
    """Numbers of the group's cases in which we do not answer as Tempo did. In: agrees(parameters, body)"""
    different = []
    for case in cases(group):
        try:
            agreed = agrees(case["params"], case["body"]) and case["status"] == 200
        except TraceQLError:
            agreed = case["status"] == 400
        if not agreed:
            different.append(case["n"])
    return different


def nanoseconds(params: dict[str, Any]) -> dict[str, int]:
    return {"start_ns": params["start"] * 10**9, "end_ns": params["end"] * 10**9}


@pytest.mark.parametrize("group", ["search", "invalid_search"])
def test_recorded_searches(sources: list[TableSource], group: str) -> None:
    """Every recorded search answers as Tempo did."""

    def agrees(params: dict[str, Any], body: dict[str, Any]) -> bool:
        limits = {"limit": params["limit"], "spans_per_span_set": params.get("spss", 3)}
        result = search(sources, SearchRequest(query=params["q"], **nanoseconds(params), **limits))
        # An empty query names no span; the API leaves the spans out then.
        return params["q"] == "" or answered(result) == recorded(body)

    assert not differing(group, agrees)


@pytest.mark.parametrize("group", ["metrics_range", "invalid_metrics", "search_as_metrics"])
def test_recorded_ranges(sources: list[TableSource], group: str) -> None:
    """Every recorded metrics query over a range answers as Tempo did: timestamps, labels, values to 1e-9."""

    def agrees(params: dict[str, Any], body: dict[str, Any]) -> bool:
        step_ns = duration_ns(params["step"])
        result = metrics_range(sources, RangeRequest(query=params["q"], **nanoseconds(params), step_ns=step_ns))
        return same(answered_series(result, instant=False), recorded_series(body))

    assert not differing(group, agrees)


def test_recorded_instants(sources: list[TableSource]) -> None:
    """The same for one sample over the whole range."""

    def agrees(params: dict[str, Any], body: dict[str, Any]) -> bool:
        result = metrics_instant(sources, InstantRequest(query=params["q"], **nanoseconds(params)))
        return same(answered_series(result, instant=True), recorded_series(body))

    assert not differing("metrics_instant", agrees)
