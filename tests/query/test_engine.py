"""The vectorised engine answers what the plain evaluator answers, however the spans are split over sources."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.language import ast
from query.language.check import check
from query.language.parse import parse
from query.requests import SearchRequest
from query.results import TraceMatch
from query.scan import pieces
from query.search.search import search
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.helpers.querying.otlp_rows import make_table
from tests.query.plain import pipeline
from tests.query.strategies import (
    QUERIES,
    KeepingSource,
    spans,
    split,
)


@settings(max_examples=examples(35), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(table=spans(), query=QUERIES, data=st.data())
def test_engine_equals_plain_evaluator(table: pa.Table, query: str, data: st.DataObject) -> None:
    """Same traces, spansets and spans: for one source, and for the same spans in up to three."""
    found = _engine([TableSource(table)], query)
    assert _spans_of(found) == _plain(table, query)
    # Whatever else the answer says, too.
    tables = split(table, data)
    assert _engine([TableSource(part) for part in tables], query) == found
    keeping = [KeepingSource(part) for part in tables]
    assert _engine(keeping, query) == found
    assert _engine(keeping, query) == found  # now with what they have kept
    with patch.object(pieces, "_TOGETHER", 1):
        assert _engine(keeping, query) == found


def _plain(table: pa.Table, query: str) -> dict[bytes, list[list[bytes]]]:
    root = check(parse(query)).root
    assert isinstance(root, ast.Pipeline)
    traces: dict[bytes, list[dict[str, Any]]] = defaultdict(list)
    for row in table.to_pylist():
        traces[row["trace_id"]].append(row)
    found = {trace_id: pipeline(root, [rows]) for trace_id, rows in traces.items()}
    return {
        trace_id: sorted(sorted(row["span_id"] for row in rows) for rows in sets)
        for trace_id, sets in found.items()
        if sets
    }


def _engine(sources: Sequence[TableSource], query: str) -> list[TraceMatch]:
    return list(search(sources, SearchRequest(query=query, limit=100, spans_per_span_set=100)).traces)


def _spans_of(traces: Sequence[TraceMatch]) -> dict[bytes, list[list[bytes]]]:
    return {
        trace.trace_id: sorted(sorted(span.span_id for span in one.spans) for one in trace.span_sets)
        for trace in traces
    }


EDGES = [0, 1, -1, 2, 3, -3, 2**31, 2**32 + 1, -(2**32), 2**62, -(2**62), 2**63 - 1, -(2**63 - 1), -(2**63)]


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "%"])
def test_what_is_beyond_64_bits_has_no_value(op: str) -> None:
    """It is in no comparison and no sum, instead of having another sign."""
    pairs = list(product(EDGES, EDGES))
    table = make_table(
        [
            {
                "trace_id": bytes([1]) * 16,
                "span_id": (number + 1).to_bytes(8, "big"),
                "start_ns": 1000,
                "duration_ns": 1,
                "span.a:int": a,
                "span.b:int": b,
            }
            for number, (a, b) in enumerate(pairs)
        ]
    )
    found: set[int] = set()
    for comparison in ("<", ">="):
        result = search(
            [TableSource(table)],
            SearchRequest(query=f"{{ span.a {op} span.b {comparison} 0 }}", spans_per_span_set=1000),
        )
        spans = [one for trace in result.traces for spanset in trace.span_sets for one in spanset.spans]
        hits = {int.from_bytes(one.span_id, "big") - 1 for one in spans}
        for number in hits:
            exact = _exactly(op, *pairs[number])
            assert exact is not None
            assert (exact < 0) == (comparison == "<")
        found |= hits
    wanted = {number for number, pair in enumerate(pairs) if _exactly(op, *pair) is not None}
    assert found == {number for number in wanted if -(2**63) <= (_exactly(op, *pairs[number]) or 0) < 2**63}
    least = search(
        [TableSource(table)], SearchRequest(query="{ -span.a < 0 || -span.a >= 0 }", spans_per_span_set=1000)
    )
    assert least.traces[0].span_sets[0].matched == len(pairs) - len(EDGES)


def _exactly(op: str, a: int, b: int) -> int | None:
    """As Go has it, without a limit."""
    if op in "+-*":
        return {"+": a + b, "-": a - b, "*": a * b}[op]
    if b == 0:
        return None
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient if op == "/" else a - b * quotient
