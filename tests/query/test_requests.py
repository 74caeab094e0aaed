"""Requests are plain values: they cannot change, and come out of a message as they went in."""

import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from query import requests
from query.tags.tag_text import parse_old_tag, parse_tag

EXAMPLES = [
    requests.SearchRequest(query="{ }", start_ns=1, end_ns=2, order="duration", total=True, cursor=""),
    requests.RangeRequest(query="{ } | rate()", start_ns=1, end_ns=2, step_ns=1, exemplars=3),
    requests.InstantRequest(query="{ } | rate()", start_ns=1, end_ns=2),
    requests.TagNamesRequest(scope="span", query="{ span.", limit=5),
    requests.TagValuesRequest(fields=(parse_tag("span:kind"), *parse_old_tag("http.route")), query="{ }"),
    requests.TraceRequest(trace_id=bytes(16), page=requests.Page((7, bytes(8)), 100)),
]


@pytest.mark.parametrize("request_", EXAMPLES, ids=lambda one: type(one).__name__)
def test_values(request_: Any) -> None:
    """Equal and of one hash after a way through bytes; nobody on the way can alter them."""
    copy = pickle.loads(pickle.dumps(request_))
    assert (copy, hash(copy)) == (request_, hash(request_))
    with pytest.raises(FrozenInstanceError):
        request_.start_ns = 5


def test_every_request_has_an_example() -> None:
    """So that a new kind of request is tried, too."""
    kinds = {name for name in vars(requests) if name.endswith("Request")}
    assert {type(one).__name__ for one in EXAMPLES} == kinds
