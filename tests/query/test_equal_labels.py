"""Series whose labels would be the same: no value is shown as nil, and a string may be that, too."""

from typing import Any

import pytest

from query.metrics.metrics import metrics_instant
from query.requests import InstantRequest
from tables.columns.in_memory import TableSource
from tables.seal import seal
from tests.helpers.live.whole_way import DECODER, START_NS, request, span

SPANS: list[dict[str, Any]] = [{"a": "nil"}, {}, {"b": "nil"}, {"a": "nil", "b": "nil"}, {"a": "x"}, {}]


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("span.a", {(("span.a", "nil"),): 5.0, (("span.a", "x"),): 1.0}),
        (
            "span.a, span.b",
            {
                (("span.a", "nil"),): 3.0,
                (("span.a", "x"),): 1.0,
                (("span.b", "nil"),): 1.0,
                (("span.a", "nil"), ("span.b", "nil")): 1.0,
            },
        ),
        ("span.a, span.a", {(("span.a", "nil"),): 3.0, (("span.a", "nil"), ("span.a", "nil")): 2.0}),
    ],
)
def test_one_series(by: str, wanted: dict[Any, float]) -> None:
    table = seal([DECODER.decode([request([span(n + 1, attributes=of) for n, of in enumerate(SPANS)])]).spans])
    asked = InstantRequest(
        query=f"{{ }} | count_over_time() by ({by})", start_ns=START_NS - 10**9, end_ns=START_NS + 10**9
    )
    found = metrics_instant([TableSource(table)], asked).series
    got = {one.labels: one.samples[0][1] for one in found}
    assert len(got) == len(found)
    assert {labels: count for labels, count in got.items() if labels in wanted} == wanted
    assert sum(got.values()) == len(SPANS)
