"""GET /api/metrics/query_range and /api/metrics/query: parameters, and the shape of the answers."""

import json
import math
import time

import pytest

from app.api.tempo.metrics import instant_json, range_json
from app.api.times import default_step_ns
from query.results import Exemplar, Inspected, MetricsResult, Series
from tests.helpers.tempo.frozen import strictly

NS = 10**9
RANGE, INSTANT = "/api/metrics/query_range", "/api/metrics/query"
TIMES = {"start": "1795259580", "end": "1795259640"}
RESULT = MetricsResult(
    [
        Series(
            [("resource.service.name", "a"), ("p", 0.5)],
            [(1_795_259_580 * NS, 0.0), (1_795_259_590 * NS, 1.5)],
            [Exemplar(bytes.fromhex("000f2ba9cc8f6a098a30a7aec2cbeadb"), 1_795_259_583_420_999_999, 0.25)],
        ),
        Series([("span.code", 500)], [(1_795_259_640 * NS, 0.0)]),
    ],
    Inspected(traces=4, spans=50, bytes=7, sources=2),
)
METRICS = {
    "inspectedTraces": 4,
    "inspectedSpans": "50",
    "inspectedBytes": "7",
    "completedJobs": 2,
    "totalJobs": 2,
}


def test_range(ask, backend):
    """Samples and exemplars have milliseconds as text; zeros are left out."""
    backend.series = RESULT
    answer = ask(RANGE, params={"q": "{ } | rate()"} | TIMES)
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {
        "series": [
            {
                "labels": [
                    {"key": "resource.service.name", "value": {"stringValue": "a"}},
                    {"key": "p", "value": {"doubleValue": 0.5}},
                ],
                "samples": [{"timestampMs": "1795259580000"}, {"timestampMs": "1795259590000", "value": 1.5}],
                "exemplars": [
                    {
                        "labels": [{"key": "trace:id", "value": {"stringValue": "f2ba9cc8f6a098a30a7aec2cbeadb"}}],
                        "timestampMs": "1795259583420",
                        "value": 0.25,
                    }
                ],
            },
            {
                "labels": [{"key": "span.code", "value": {"intValue": "500"}}],
                "samples": [{"timestampMs": "1795259640000"}],
            },
        ],
        "metrics": METRICS,
    }


def test_instant(ask, backend):
    """One value for each series; zero is left out."""
    one = Series([("__name__", "rate")], [(5, 2.5)])
    backend.series = MetricsResult([one, Series([("x", True)], [(5, 0.0)]), Series([("y", "")], [])], Inspected())
    answer = ask(INSTANT, params={"q": "{ } | rate()"} | TIMES)
    assert json.loads(answer.body) == {
        "series": [
            {"labels": [{"key": "__name__", "value": {"stringValue": "rate"}}], "value": 2.5},
            {"labels": [{"key": "x", "value": {"boolValue": True}}]},
            {"labels": [{"key": "y", "value": {"stringValue": ""}}]},
        ],
        "metrics": {},
    }


def test_strict_parser():
    """Grafana's backend refuses fields that it does not know: it knows all of ours, and numbers beyond JSON's."""
    odd = Series([("a", "b")], [(0, math.inf), (10**9, -math.inf)], [Exemplar(bytes(16), 0, math.nan)])
    message = strictly(
        b"".join(range_json(MetricsResult([*RESULT.series, odd], RESULT.inspected))), "QueryRangeResponse"
    )
    assert message.series[0].samples[1].value == 1.5
    assert message.series[2].samples[0].value == math.inf
    message = strictly(
        b"".join(instant_json(MetricsResult([*RESULT.series, odd], RESULT.inspected))), "QueryInstantResponse"
    )
    assert message.series[0].value == 1.5
    assert message.metrics.inspectedSpans == 50


SHORT = {"step_ns": NS // 5}
HALF_PAST_NS = 1_795_259_580 * NS + NS // 2


@pytest.mark.parametrize(
    ("range_s", "want_s"),
    [
        pytest.param(0.001, 0.05, id="a millisecond"),
        pytest.param(12, 0.05, id="just 240 samples of 50 ms"),
        pytest.param(24.1, 0.1, id="the first 100 ms"),
        pytest.param(59.999, 0.2, id="just below a minute"),
        pytest.param(60, 1, id="a minute"),
        pytest.param(15 * 60, 3, id="a quarter of an hour"),
        pytest.param(3600, 15, id="an hour"),
        pytest.param(5 * 3600, 60, id="five hours: 75 s in whole minutes"),
        pytest.param(24 * 3600, 300, id="a day"),
        pytest.param(7 * 24 * 3600, 2400, id="a week"),
        pytest.param(30 * 24 * 3600, 10800, id="a month"),
    ],
)
def test_default_step(range_s, want_s):
    """As Tempo chooses it: about 240 samples, rounded down to multiples of a round number."""
    assert default_step_ns(int(range_s * NS)) == round(want_s * NS)


@pytest.mark.parametrize(
    ("params", "want"),
    [
        pytest.param({}, {}, id="defaults"),
        pytest.param({"step": "10s"}, {"step_ns": 10 * NS}, id="step"),
        pytest.param({"step": "1m30.5s"}, {"step_ns": 90_500_000_000}, id="step of parts"),
        pytest.param({"step": "15"}, {"step_ns": 15 * NS}, id="step in seconds"),
        pytest.param({"step": "0.5"}, {"step_ns": NS // 2}, id="step in parts of seconds"),
        pytest.param({"step": "6ms"}, {"step_ns": 6_000_000}, id="least step"),
        pytest.param({"start": "1795256040"}, {"start_ns": 1_795_256_040 * NS, "step_ns": 15 * NS}, id="an hour: 15 s"),
        pytest.param({"exemplars": "0"}, {"exemplars": 0}, id="no exemplars"),
        pytest.param({"exemplars": "7"}, {"exemplars": 7}, id="exemplars"),
        pytest.param({"exemplars": "1000"}, {"exemplars": 100}, id="most exemplars"),
        pytest.param({"start": "1795259580.25"}, {"start_ns": 1_795_259_580_250_000_000} | SHORT, id="fraction"),
        pytest.param({"start": "1795259580000000007"}, SHORT | {"start_ns": 1_795_259_580_000_000_007}, id="in ns"),
        pytest.param({"start": "2026-11-21T11:13:00Z"}, {"start_ns": 1_795_259_580 * NS}, id="RFC 3339"),
        pytest.param({"start": "2026-11-21T12:13:00.5+01:00"}, SHORT | {"start_ns": HALF_PAST_NS}, id="zone"),
        pytest.param({"start": "", "since": "30s"}, {"start_ns": 1_795_259_610 * NS, "step_ns": NS // 10}, id="since"),
        pytest.param({"start": "", "since": ""}, {"start_ns": 1_795_256_040 * NS, "step_ns": 15 * NS}, id="an hour"),
    ],
)
def test_asked(ask, backend, params, want):
    """What the backend is asked."""
    assert ask(RANGE, params={"q": "{ } | rate()"} | TIMES | params).status == 200
    defaults = {
        "tenant": "single-tenant",
        "query": "{ } | rate()",
        "start_ns": 1_795_259_580 * NS,
        "end_ns": 1_795_259_640 * NS,
        "step_ns": NS,
        "exemplars": 100,
    }
    assert backend.asked == [defaults | want]


def test_asked_instant(ask, backend):
    """The same range without steps; the query may be called as Prometheus calls it."""
    assert ask(INSTANT, params={"query": " { } | rate() "} | TIMES).status == 200
    assert backend.asked == [
        {
            "tenant": "single-tenant",
            "query": "{ } | rate()",
            "start_ns": 1_795_259_580 * NS,
            "end_ns": 1_795_259_640 * NS,
            "exemplars": 0,
        }
    ]


def test_until_now(ask, backend):
    """Without times the last hour."""
    before_ns = time.time_ns()
    assert ask(RANGE, params={"q": "{ } | rate()"}).status == 200
    (asked,) = backend.asked
    assert before_ns <= asked["end_ns"] <= time.time_ns()
    assert asked["end_ns"] - asked["start_ns"] == 3600 * NS


@pytest.mark.parametrize(
    ("params", "words"),
    [
        pytest.param({"q": ""}, ["q", "rate()"], id="no query"),
        pytest.param({"q": "x" * 20_001}, ["max_query_expression_size_bytes"], id="long query"),
        pytest.param({"start": "x"}, ["start", "'x'", "RFC 3339"], id="start"),
        pytest.param({"start": "-5"}, ["start", "'-5'"], id="negative start"),
        pytest.param({"start": "2026-11-21T11:13:00"}, ["start", "RFC 3339"], id="no zone"),
        pytest.param({"end": "9" * 20}, ["end", "9999"], id="end too large"),
        pytest.param({"start": "1795259640"}, ["start=1795259640", "end=1795259640"], id="empty range"),
        pytest.param({"start": "1795259641"}, ["start=1795259641"], id="start after end"),
        pytest.param({"since": "x"}, ["since", "'x'", "10s"], id="since"),
        pytest.param({"since": "-1h"}, ["since"], id="since negative"),
        pytest.param({"exemplars": "-1"}, ["exemplars", "'-1'"], id="exemplars"),
    ],
)
@pytest.mark.parametrize("path", [RANGE, INSTANT])
def test_bad_parameters(ask, backend, path, params, words):
    """400 in plain text that names the parameter and what it was, for both endpoints."""
    answer = ask(path, params={"q": "{ } | rate()"} | TIMES | params)
    if path == INSTANT and "exemplars" in params:
        assert answer.status == 200  # it has none
        return
    assert answer.status == 400
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert [word for word in words if word not in answer.text] == []
    assert backend.asked == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        pytest.param("0s", ["too small", "0.006s"], id="zero"),
        pytest.param("5ms", ["too small", "0.006s"], id="too many samples"),
        pytest.param("x", ["step", "'x'"], id="no duration"),
        pytest.param("-10s", ["step", "'-10s'"], id="negative"),
        pytest.param("10 s", ["step", "'10 s'"], id="blank"),
        pytest.param("9" * 18 + "h", ["step"], id="too large"),
    ],
)
def test_bad_steps(ask, step, words):
    """A step that cannot be used is 400."""
    answer = ask(RANGE, params={"q": "{ } | rate()", "step": step} | TIMES)
    assert answer.status == 400
    assert [word for word in words if word not in answer.text] == []


@pytest.mark.parametrize("path", [RANGE, INSTANT])
@pytest.mark.parametrize("times", [{"start": "1795259500", "end": "1795259561"}, {"since": "61s"}])
def test_longest_range(ask, path, times):
    """400 that names the setting; 0 switches it off."""
    answer = ask(path, params={"q": "{ } | rate()", **times}, max_metrics_duration_s=60)
    assert (answer.status, "query_frontend.metrics.max_duration_s allows 60 s" in answer.text) == (400, True)
    assert ask(path, params={"q": "{ } | rate()", **times}, max_metrics_duration_s=0).status == 200
