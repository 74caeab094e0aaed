"""The queries' benchmark knows the right answers by itself, and lets no wrong one pass."""

import json
from base64 import b64encode
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.cli.demo.trace import key_values
from benchmarks import workload
from benchmarks.queries import expect, truth
from benchmarks.queries.cases import TARGETS_MS, Call, Case, by_id, cases, matches
from benchmarks.queries.concurrent_clients import mix
from benchmarks.queries.passes import PASSES_MAX, Pass, write

S = 1_000_000_000


def request(*spans, service="search"):
    """Spans of one resource, each the arguments of `Span`."""
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.extend(key_values({"service.name": service}))
    scope = group.scope_spans.add()
    for span in spans:
        attributes = span.pop("attributes", {})
        scope.spans.add(**span).attributes.extend(key_values(attributes))
    return made.SerializeToString()


def span(trace, number, parent=0, start_s=1, end_s=2, **more):
    ids = {"trace_id": bytes([trace]) * 16, "span_id": number.to_bytes(8, "big")}
    if parent:
        ids["parent_span_id"] = parent.to_bytes(8, "big")
    return {**ids, "start_time_unix_nano": start_s * S, "end_time_unix_nano": end_s * S, **more}


REQUESTS = [
    request(span(1, 1), span(1, 2, 1, start_s=0), span(2, 3, attributes={"shop.customer.id": "customer-1239"})),
    request(span(1, 4, 2, name="send orders", attributes={"shop.order.id": "00aa0000"}), service="orders"),
    request(span(1, 5, 4), span(1, 6, 5), span(2, 7, 3), span(1, 8, 1), service="warehouse"),
    request(span(3, 9, status={"code": 2}), span(3, 10), service="payments"),
    request(
        *(span(4, 11 + n, kind=2, end_s=3, attributes={"http.response.status_code": 500}) for n in range(3)),
        span(5, 14, kind=2, end_s=2, name="home", attributes={"http.route": "/", "http.response.status_code": 200}),
        service="storefront",
    ),
]
T = [bytes([n]) * 16 for n in range(6)]


def test_truth():
    """Each query's matches by trace, counted by hand."""
    found = truth.read(REQUESTS)
    assert found.matched == {
        "b": {T[1]: 2, T[2]: 1},
        "c": {T[4]: 3},
        "d": {T[3]: 1},
        "e": {T[1]: 1},
        "f": {T[2]: 1},
        "g": {T[1]: 2},
        "h": {T[4]: 3},
        "i": {},
    }
    assert found.spans == sum(found.sizes.values()) == sum(found.services.values()) == 14
    assert found.sizes[T[1]] == 6
    assert (found.first_ns, found.last_ns, found.starts_ns[T[1]]) == (0, 3 * S, 0)
    assert found.services["storefront"] == 4
    assert found.front_names == {"": 3, "home": 1}
    assert found.routes == {"/"}
    assert found.tags["resource"] == {"service.name"}
    assert found.tags["span"] == {"shop.customer.id", "shop.order.id", "http.response.status_code", "http.route"}


def test_truth_needs_an_order():
    """Without a needle there is nothing to search for: that is said."""
    with pytest.raises(ValueError, match="take more spans"):
        truth.read(REQUESTS[:1])


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=40))
def test_below(spans):
    """The vectorised walk up the tree equals one step by step. Parents come before or after, or not at all."""
    parents = [parent if parent != number else 0 for number, (parent, _) in enumerate(spans, 1)]
    marked = [mark for _, mark in spans]

    def walk(number):
        seen = set()
        while 0 < (number := parents[number - 1]) <= len(spans) and number not in seen:
            seen.add(number)
            if marked[number - 1]:
                return True
        return False

    ids = np.arange(1, len(spans) + 1, dtype=np.uint64)
    got = truth.below(ids, np.array(parents, np.uint64), np.array(marked, bool))
    assert got.tolist() == [walk(number) for number in range(1, len(spans) + 1)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("queries") / "w.otlp"
    workload.write(workload.Options(spans=3000), path)
    return workload.Requests(path)


def test_a_pass_is_other_spans(kept, tmp_path):
    """What is true of a sent pass is what the file's truth says of it; no two passes share a trace or an order."""
    of = truth.read(kept)
    sent = []
    for one in (Pass(0, 0), Pass(7, 5 * S), Pass(PASSES_MAX - 1, -S)):
        path = tmp_path / "pass.otlp"
        assert write(one.requests(kept), path) == len(kept)
        again = truth.read(workload.Requests(path))
        assert again.needle in {one.order_id(of.needle), again.needle}
        ids = list(of.sizes)
        there = one.trace_ids(ids)
        assert again.sizes == {new: of.sizes[old] for new, old in zip(there, ids, strict=True)}
        assert again.starts_ns == {new: of.starts_ns[old] + one.shift_ns for new, old in zip(there, ids, strict=True)}
        for letter in "bcdfgh":
            assert matches(of, letter, [one])[1] == again.matched[letter]
        assert (again.services, again.routes, again.tags) == (of.services, of.routes, of.tags)
        sent.append(set(there))
    assert len(set.union(*sent)) == 3 * len(of.sizes)
    assert len({Pass(number, 0).order_id(of.needle) for number in range(100)}) == 100


def test_part_of_a_pass(kept, tmp_path):
    """No more requests than asked for."""
    assert write(Pass(1, 0).requests(kept), tmp_path / "part.otlp", 2) == 2
    assert len(workload.Requests(tmp_path / "part.otlp")) == 2


def test_cases(kept):
    """Every target has a query and the other way round; each pass is asked for traces; the needle is of one pass."""
    of = truth.read(kept)
    passes = [Pass(number, number * S) for number in range(4)]
    found = {case.name: case for case in cases(of, passes)}
    assert found.keys() == TARGETS_MS.keys()
    assert len(found["a"].calls) == 10
    everywhere = {one.hex() for each in passes for one in each.trace_ids(list(of.sizes))}
    assert {call.target.partition("?")[0].rpartition("/")[2] for call in by_id(of, passes, {})} <= everywhere
    assert passes[2].order_id(of.needle) in found["e"].calls[0].target
    assert len(found["e"].calls[0].expect.matched) == 1
    assert len(found["b-full"].calls[0].expect.matched) == 4 * len(of.matched["b"])


def traces(*rows):
    return {
        "traces": [
            {"traceID": trace_id.hex().lstrip("0"), "startTimeUnixNano": str(start), "spanSets": [{"matched": matched}]}
            for trace_id, start, matched in rows
        ]
    }


def by_trace(*span_ids):
    spans = [{"spanId": b64encode(one).decode()} for one in span_ids]
    return {"trace": {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}}


def series(*rows, label="name"):
    """Each: the label's value, then the samples; None for a zero, which is left out."""
    return {
        "series": [
            {
                "labels": [{"key": label, "value": {"stringValue": name}}],
                "samples": [{} if value is None else {"value": value} for value in values],
            }
            for name, *values in rows
        ]
    }


def scopes(**tags):
    return {"scopes": [{"name": name, "tags": list(letters)} for name, letters in tags.items()]}


def values(letters):
    return {"tagValues": [{"value": letter} for letter in letters]}


NEWEST = expect.Newest(2, {T[1]: 10, T[2]: 30, T[3]: 20}, {T[1]: 1, T[2]: 2, T[3]: 3})
A, B = bytes(8), bytes([1] * 8)
SUMS = expect.Sums("name", {"a": 30, "b": 10}, 10.0)
QUANTILES = expect.Quantiles("name", frozenset("ab"), 2)
TAGS = expect.Tags({"span": frozenset({"x", "y"})})


@pytest.mark.parametrize(
    ("expected", "answer", "problem"),
    [
        pytest.param(NEWEST, traces((T[2], 30, 2), (T[3], 20, 3)), "", id="search"),
        pytest.param(expect.Newest(9, {}, {}), {"traces": []}, "", id="search: nothing"),
        pytest.param(NEWEST, traces((T[3], 20, 3), (T[2], 30, 2)), "newest first", id="search: order"),
        pytest.param(NEWEST, traces((T[2], 30, 2), (T[1], 10, 1)), "newest first", id="search: not the newest"),
        pytest.param(NEWEST, traces((T[2], 20, 2), (T[3], 30, 3)), "their own starts", id="search: starts"),
        pytest.param(NEWEST, traces((T[2], 30, 2)), "1 traces", id="search: too few"),
        pytest.param(NEWEST, traces((T[2], 30, 2), (T[2], 30, 2)), "1 different", id="search: twice"),
        pytest.param(NEWEST, traces((T[2], 30, 2), (T[5], 20, 3)), "do not match", id="search: another"),
        pytest.param(NEWEST, traces((T[2], 30, 2), (T[3], 20, 4)), "4 spans match, must be 3", id="search: spans"),
        pytest.param(expect.Trace(2), by_trace(A, B), "", id="trace"),
        pytest.param(expect.Trace(2), by_trace(A, A), "1 different", id="trace: twice"),
        pytest.param(expect.Trace(2), {"trace": {}}, "0 spans", id="trace: not there"),
        pytest.param(SUMS, series(("a", 1.0, None, 2.0), ("b", 1.0)), "", id="sums"),
        pytest.param(SUMS, series(("a", 1.0, 1.0), ("b", 1.0)), "a: 20, must be 30", id="sums: lost"),
        pytest.param(SUMS, series(("a", 3.0)), "1 series", id="sums: a series is missing"),
        pytest.param(expect.Sums("", {"": 3}), series(("any", 1, 2)), "", id="one series"),
        pytest.param(expect.Sums("", {"": 3}), series(("any", 1, 3)), "the sum: 4", id="one series: too much"),
        pytest.param(QUANTILES, series(("a", 1), ("a", 2), ("b", 1), ("b", 2)), "", id="quantiles"),
        pytest.param(QUANTILES, series(("a", 1), ("a", 2), ("b", 1)), "b: 1, must be 2", id="quantiles: missing"),
        pytest.param(QUANTILES, series(("a", 1), ("a", None)), "no sample above 0", id="quantiles: empty"),
        pytest.param(TAGS, scopes(span="yx", intrinsic="z"), "", id="tags"),
        pytest.param(TAGS, scopes(span="x"), "1 missing, among them 'y'", id="tags: missing"),
        pytest.param(TAGS, scopes(span="xy", event="x"), "scope event", id="tags: scope"),
        pytest.param(expect.Values(frozenset("ab")), values("ab"), "", id="values"),
        pytest.param(expect.Values(frozenset("a")), values("ab"), "1 too many", id="values: more"),
        pytest.param(expect.Values(frozenset("a")), values("aa"), "twice", id="values: twice"),
        pytest.param(SUMS, {"traces": []}, "not the JSON", id="another kind of answer"),
    ],
)  # fmt: skip
def test_judgement(expected, answer, problem):
    """Right answers pass, wrong ones are told with what is wrong."""
    reply = expect.wrong(expected, 200, json.dumps(answer).encode())
    assert problem in reply
    assert bool(reply) == bool(problem)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        pytest.param(503, b"not ready\n", "status 503: not ready", id="status"),
        pytest.param(200, b"{", "not the JSON", id="no JSON"),
        pytest.param(200, b"[]", "not the JSON", id="a list"),
    ],
)
def test_no_answer(status, body, problem):
    """An error is a wrong answer, with its text."""
    assert problem in expect.wrong(NEWEST, status, body)


def test_mix():
    """Each round has every small query once and one of the large; rounds and clients differ; large ones take turns."""
    all_of_them = [Case(name, "", (Call("/", NEWEST),)) for name in ("a", "b", "c", "x-full", "y-full")]
    rounds = list(islice(mix(all_of_them, 1), 8))
    first, second = [[case.name for case in part] for part in (rounds[:4], rounds[4:])]
    assert [sorted(set(one) & set("abc")) for one in (first, second)] == [["a", "b", "c"]] * 2
    assert {name for name in first + second if name.endswith("full")} == {"x-full", "y-full"}
    assert len({tuple(case.name for case in islice(mix(all_of_them, seed), 4)) for seed in range(20)}) > 3
    assert [case.name for case in islice(mix(all_of_them[:1], 1), 2)] == ["a", "a"]
