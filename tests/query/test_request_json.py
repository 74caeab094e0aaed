"""Requests come out as they went in; anything else is refused with its reason."""

from typing import Any

import orjson
import pytest

from query.language import ast
from query.request_json import BadRequest, Request, from_json, to_json
from query.requests import (
    InstantRequest,
    Page,
    RangeRequest,
    SearchRequest,
    SpanMatching,
    SpanSelection,
    TagNamesRequest,
    TagValuesRequest,
    TraceRequest,
)
from query.tags.tag_text import parse_old_tag, parse_tag

REQUESTS = [
    SearchRequest(query="{ }"),
    SearchRequest(query="{ ü }", start_ns=1, end_ns=2**62, limit=0, order="duration", total=True, cursor=""),
    RangeRequest(query="{ } | rate()", start_ns=1, end_ns=2, step_ns=3, exemplars=4),
    InstantRequest(query="{ } | rate()", start_ns=1, end_ns=2),
    TagNamesRequest(),
    TagNamesRequest(scope="span", query="{ span. }", start_ns=1, limit=5),
    TagValuesRequest(fields=(parse_tag("span.a b"), parse_tag(".x"), parse_tag("status"))),
    TagValuesRequest(fields=parse_old_tag("http.route"), query="{ }", end_ns=5),
    TraceRequest(trace_id=b"\0\xff" * 8, bytes_max=7),
    TraceRequest(trace_id=b"\1" * 16, page=Page(None, 3)),
    TraceRequest(trace_id=b"\1" * 16, outline=True),
    TraceRequest(trace_id=b"\1" * 16, matching=SpanMatching("{ name = `x` }", "text")),
    TraceRequest(trace_id=b"\1" * 16, filter=SpanSelection("{ name = `x` }", 1, -1)),
    TagValuesRequest(fields=(parse_tag("name"),), bytes_max=7),
    TraceRequest(trace_id=b"\1" * 16, page=Page((-5, b"\2" * 8), 3), start_ns=1, end_ns=2),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: type(one).__name__)
def test_round_trip(request_: Request) -> None:
    assert from_json(orjson.loads(orjson.dumps(to_json(request_)))) == request_


SEARCH = to_json(REQUESTS[0])
TRACE = to_json(REQUESTS[8])
VALUES = to_json(REQUESTS[6])


@pytest.mark.parametrize(
    "values",
    [
        None,
        3,
        [],
        {},
        {"kind": "other"},
        {"kind": "search"},
        {**SEARCH, "limit": "5"},
        {**SEARCH, "query": None},
        {**SEARCH, "more": 1},
        {**TRACE, "trace_id": "xy"},
        {**TRACE, "trace_id": 5},
        {**TRACE, "page": {"after": [1], "spans_max": 2}},
        {**VALUES, "fields": [{"other": {}}]},
        {**VALUES, "fields": 7},
        {**VALUES, "fields": [{"attribute": {"key": "x"}}]},
    ],
    ids=repr,
)
def test_damaged(values: Any) -> None:
    with pytest.raises(BadRequest):
        from_json(values)


def test_places_in_the_text_stay_behind() -> None:
    """They are about a text that the other process does not have."""
    (field, *_) = from_json(VALUES).fields
    assert field == ast.Attribute("span", "a b")
    assert field.at == ast.NOWHERE
