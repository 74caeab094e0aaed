"""Messages of the streaming API: they say what the HTTP API's JSON says."""

from dataclasses import replace

import pytest

from app.api.proto import tempo_pb2 as pb
from app.api.tempo import messages
from app.api.tempo.metrics import instant_json, last_use, range_json
from app.api.tempo.search import search_json
from app.api.tempo.tags import names_v1_json, names_v2_json, values_v1_json, values_v2_json
from query.results import Inspected, MetricsResult, SearchResult, SpanMatch, SpanSet, TraceMatch
from query.tags.tags import TagNames
from tests.helpers.querying.api import RESULT
from tests.helpers.querying.streaming import INSPECTED, NAMES, SERIES, VALUE_KINDS, VALUES, same

ODD = SearchResult(
    [TraceMatch(bytes(16), None, None, 0, -5, [SpanSet([SpanMatch(bytes(8), "", 0, -1, VALUE_KINDS)], 0)], {})],
    INSPECTED,
)


@pytest.mark.parametrize("span_sets", [True, False])
@pytest.mark.parametrize("result", [RESULT, ODD, SearchResult([], Inspected())], ids=["usual", "odd", "none"])
def test_search_agrees(result, span_sets):
    """Both forms of a search's answer say the same."""
    same(b"".join(search_json(result, span_sets=span_sets)), messages.search_messages(result, span_sets=span_sets))


@pytest.mark.parametrize("sets", [1, 2])
def test_a_search_with_a_large_trace_agrees(sets):
    """A trace whose spans are written by hand is the same as JSON, in its order among others."""
    spans = tuple(SpanMatch(n.to_bytes(8, "big"), f"n{n}", n, n, (("k", n),)) for n in range(2_100))
    large = RESULT.traces[0]._replace(span_sets=(SpanSet(spans, 5_000, (("by(name)", "x"),)),) * sets)
    parts = list(messages.search_messages(replace(RESULT, traces=[large]), span_sets=True))
    same(b"".join(search_json(replace(RESULT, traces=[large]), span_sets=True)), parts)
    mixed = replace(RESULT, traces=[RESULT.traces[0], large, RESULT.traces[0]])
    parts = messages.search_messages(mixed, span_sets=True)
    found = [pb.SearchResponse.FromString(part.SerializeToString()) for part in parts]
    assert [len(trace.spanSet.spans) > 2_000 for part in found for trace in part.traces] == [False, True, False]


def test_what_was_sent_is_dropped():
    """The event loop knows the result to its end: there is nothing left for it to free."""
    result = MetricsResult(list(SERIES.series), INSPECTED)
    assert b"".join(last_use(range_json(result), result)) == b"".join(range_json(SERIES))
    assert result.series == []


def test_what_is_not_sent_is_dropped():
    """Nor where the answer is given up before its end."""
    result = MetricsResult(list(SERIES.series), INSPECTED)
    parts = last_use(range_json(result), result)
    next(parts)
    parts.close()
    assert result.series == []


@pytest.mark.parametrize("result", [SERIES, MetricsResult([], Inspected())], ids=["some", "none"])
def test_metrics_agree(result):
    """Both forms of a metrics answer say the same."""
    same(b"".join(range_json(result)), messages.range_messages(result))
    same(b"".join(instant_json(result)), messages.instant_messages(result))


@pytest.mark.parametrize("names", [NAMES, TagNames({}, Inspected())], ids=["some", "none"])
def test_tags_agree(names):
    """Both forms of tags and values say the same."""
    for intrinsic in (False, True):
        same(names_v1_json(names, intrinsic=intrinsic), messages.names_messages(names, intrinsic=intrinsic))
    same(names_v2_json(names), messages.names_v2_messages(names))
    same(values_v1_json(VALUES), messages.values_messages(VALUES))
    same(values_v2_json(VALUES), messages.values_v2_messages(VALUES))


def test_many_short_values_are_several_messages():
    """No other thread can run while a message takes them in."""
    values = replace(VALUES, values=tuple(VALUES.values[0]._replace(text=f"{n}") for n in range(20_000)))
    parts = list(messages.values_v2_messages(values))
    assert max(len(part.tagValues) for part in parts) <= 5_000
    assert [one.value for part in parts for one in part.tagValues] == [f"{n}" for n in range(20_000)]


def test_many_names_are_several_messages():
    """Together they are all names."""
    names = TagNames({"span": tuple(f"{n:0100}" for n in range(30_000))}, Inspected())
    parts = list(messages.names_v2_messages(names))
    assert len(parts) > 1
    assert [tag for part in parts for scope in part.scopes for tag in scope.tags] == list(names.scopes["span"])
