"""POST /api/v2/traces/diff: what is matched, what counts as a change, and what is refused."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Status

from app.api.backend import TraceAnswer
from app.api.trace_diff import spans as spans_
from app.api.trace_diff.patch import _partners, patch
from app.api.trace_diff.spans import TooDeep, tree_of
from app.api.trace_diff.summary import composed, summary
from tests.helpers.querying.api import api_over, serving, spans

MS = 1_000_000
Spec = tuple[str, str, str, int, int, dict[str, Any]]  # id, parent, service/name, start ms, duration ms, attributes


def trace(*specs: Spec, error: str = "") -> list[ResourceSpans]:
    groups = []
    for span_id, parent, what, start, duration, attributes in specs:
        service, _, name = what.partition("/")
        group = ResourceSpans()
        group.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=service)))
        span = group.scope_spans.add().spans.add(
            trace_id=b"t" * 16,
            span_id=span_id.encode(),
            parent_span_id=parent.encode(),
            name=name,
            kind=2,
            start_time_unix_nano=(1000 + start) * MS,
            end_time_unix_nano=(1000 + start + duration) * MS,
            status=Status(code=2 if span_id == error else 0),
        )
        for key, value in attributes.items():
            field = {str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}[type(value)]
            span.attributes.append(KeyValue(key=key, value=AnyValue(**{field: value})))
        groups.append(group)
    return groups


BASE: list[Spec] = [
    ("a", "", "web/GET", 0, 100, {"n": 1}),
    ("b", "a", "db/query", 10, 20, {"file.size": 100}),
    ("c", "a", "db/query", 40, 20, {}),
    ("d", "c", "db/lock", 45, 5, {}),
]


def patched(compare: list[Spec], base: list[Spec] = BASE, **reply: str) -> dict[str, Any]:
    return patch(tree_of(trace(*base), "base"), tree_of(trace(*compare, **reply), "compare"))


def changed(number: int, **more: Any) -> list[Spec]:
    """BASE with another duration or attributes of one span."""
    span_id, parent, what, start, duration, attributes = BASE[number]
    new = (span_id, parent, what, start, more.get("duration", duration), more.get("attributes", attributes))
    return [*BASE[:number], new, *BASE[number + 1 :]]


def test_equal_traces() -> None:
    """Ids and the time of day do not count."""
    again = [(i + "2", p and p + "2", w, start + 5000, *rest) for i, p, w, start, *rest in BASE]
    found = patched(again)  # type: ignore[arg-type]
    assert (found["modified"], found["added"], found["removed"], found["warnings"]) == ([], [], [], [])
    assert found["stats"]["matchedSpans"] == 4


@pytest.mark.parametrize(
    ("compare", "changes"),
    [
        (changed(0, duration=120), []),
        (changed(0, duration=130), [("modify", "duration_nanos", 100 * MS, 130 * MS)]),
        (changed(1, attributes={"file.size": 104}), []),
        (changed(1, attributes={"file.size": 106}), [("modify", "file.size", 100, 106)]),
        (changed(0, attributes={"n": 2}), [("modify", "n", 1, 2)]),
        (changed(0, attributes={"n": 1.0}), []),
        (changed(0, attributes={"n": "1"}), [("modify", "n", 1, "1")]),
        (changed(0, attributes={}), [("remove", "n", 1, None)]),
        (changed(2, attributes={"x": float("nan")}), [("add", "x", None, "NaN")]),
        (changed(2, attributes={"x": b"ab"}), [("add", "x", None, "YWI=")]),
    ],
)
def test_changes(compare: list[Spec], changes: list[tuple[Any, ...]]) -> None:
    """Durations and sizes with a tolerance, all else as it is."""
    found = [change for one in patched(compare)["modified"] for change in one["changes"]]
    assert [
        (one["op"], one["target"].get("name") or one["target"]["key"], one["before"], one["after"]) for one in found
    ] == changes


def test_added_and_removed() -> None:
    """With their places: the first of two alike went, and a root came."""
    found = patched([BASE[0], ("c", "a", "db/query", 40, 20, {}), BASE[3], ("r", "", "job/run", 500, 1, {})])
    (removed,), (added,) = found["removed"], found["added"]
    assert removed["target"] == {"type": "span", "path": [0, 1]}
    assert added["target"] == {"type": "span", "index": 1}
    assert added["span"] == {
        "path": [1],
        "service": "job",
        "name": "run",
        "kind": "server",
        "duration_nanos": MS,
        "status": "unset",
    }


def test_of_several_the_one_below_the_same_parent() -> None:
    """Else the first one that is free."""
    base: list[Spec] = [
        ("x", "", "s/x", 0, 9, {}),
        ("1", "x", "s/f", 1, 2, {"of": "x"}),
        ("y", "", "s/y", 10, 9, {}),
        ("2", "y", "s/f", 11, 2, {"of": "y"}),
    ]
    assert patched([base[2], base[3]], base)["modified"] == []
    assert patched([("z", "", "s/z", 0, 1, {}), ("2", "z", "s/f", 11, 2, {"of": "x"})], base)["modified"] == []


def test_odd_traces() -> None:
    """Circles, ids that come twice, times that are none, ids in names: told, and never a loop."""
    odd: list[Spec] = [
        ("a", "b", "web/GET 123456", 0, 1, {}),
        ("b", "a", "web/x", 5, -900, {}),
        ("a", "", "web/y", 9, 1, {}),
    ]
    found = patched(odd, odd)
    assert found["stats"]["matchedSpans"] == 2
    codes = [warning["code"] for warning in found["warnings"]]
    assert sorted(codes) == ["duplicate_span_id"] * 2 + ["high_cardinality_span_name"] + ["invalid_duration"] * 2


def test_summary() -> None:
    """Directions, sums and services."""
    base = tree_of(trace(*BASE), "base")
    compare = tree_of(trace(*changed(0, duration=200)[:3], error="b"), "compare")
    found = summary(base, compare, patch(base, compare))
    assert found["signals"] == {
        "traceLatency": "increased",
        "sumSpanDuration": "increased",
        "errors": "increased",
        "spanCount": "decreased",
        "structure": "changed",
    }
    assert found["trust"] == {"matchedSpanRatio": 0.75, "structureOverlap": 1.0}
    assert found["stats"]["traceLatencyDeltaMs"] == 100
    assert found["changedServices"] == ["db", "web"]
    zero = {"added": 0, "resolvedErrors": 0}
    assert found["services"] == [
        {"name": "web", "sumSpanDurationDeltaMs": 100, "modified": 1, "removed": 0, "newErrors": 0, **zero},
        {"name": "db", "sumSpanDurationDeltaMs": -5, "modified": 1, "removed": 1, "newErrors": 1, **zero},
    ]
    assert composed(base, compare)["patch"]["version"] == "trace-patch-v0"
    many = tree_of(trace(*[(f"{n}", "", f"s/{n}", n, 1, {}) for n in range(500)]), "compare")
    assert composed(base, many)["patchOmitted"]["reason"] == "over_budget"


def test_too_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of spans: the paths grow with its square."""
    chain: list[Spec] = [(f"{n}", f"{n - 1}" if n else "", "s/x", n, 1, {}) for n in range(100)]
    assert tree_of(trace(*chain), "base").items[99].path == (0,) * 100
    monkeypatch.setattr(spans_, "_STEPS_MAX", 5000)
    with pytest.raises(TooDeep):
        tree_of(trace(*chain), "base")


ONE = {"traceId": "f2ba9cc8f6a098a30a7aec2cbeadb"}


@pytest.fixture
def post(backend):
    """post(body, **settings) -> status, text."""

    def post(body, **settings) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body)

        async def use(base: str) -> tuple[int, str]:
            async with (
                aiohttp.ClientSession() as session,
                session.post(base + "/api/v2/traces/diff", data=data) as response,
            ):
                return response.status, await response.text()

        return asyncio.run(serving(api_over(backend, **settings), use))

    return post


def test_over_http(post, backend) -> None:
    """Each form; a trace that is not there, is partial, is too large."""
    backend.answer = TraceAnswer(spans(3), complete=True, message="")
    for form in ("trace-patch-v0", "trace-summary-v0-native", "trace-summary-v0-composed", ""):
        status, text = post({"base": ONE | {"start": 1, "end": 2}, "compare": ONE, "format": form})
        assert (status, json.loads(text)["version"]) == (200, form or "trace-patch-v0")
    assert backend.asked[0]["start_ns"] == 10**9
    assert post({"base": ONE, "compare": ONE}, max_bytes_per_trace=300)[0] == 422
    backend.answer = TraceAnswer(spans(3), complete=False, message="partition 3")
    assert post({"base": ONE, "compare": ONE}) == (422, "base trace: partial traces cannot be compared: partition 3")
    backend.answer = TraceAnswer(None, complete=True, message="")
    assert post({"base": ONE, "compare": ONE})[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        {},
        {"base": ONE},
        {"base": ONE, "compare": {"traceId": "xyz"}},
        {"base": ONE, "compare": "x"},
        {"base": ONE, "compare": ONE, "format": "other"},
        {"base": ONE, "compare": ONE, "format": [1]},
        {"base": ONE, "compare": ONE | {"start": 2, "end": 2}},
        {"base": ONE, "compare": ONE | {"start": "x"}},
        {"base": ONE, "compare": ONE | {"end": 2**70}},
    ],
)
def test_wrong_bodies(post, backend, body) -> None:
    """400, and nothing is asked."""
    assert post(body)[0] == 400
    assert backend.asked == []


def test_large_bodies(post) -> None:
    """64 KiB are more than enough."""
    assert post(b" " * (65 << 10))[0] == 413


def by_hand(base, compare):
    """The first span of the same identity that is left; of several one whose parent is the same operation, too."""
    free, partners = list(range(len(base.items))), {}
    for number, span in enumerate(compare.items):
        same = [one for one in free if base.items[one].identity == span.identity]
        alike = [one for one in same if span.parent is not None and base.items[one].parent == span.parent]
        if same:
            partners[number] = (alike or same)[0]
            free.remove(partners[number])
    return partners


SPECS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["", *"abcdef"]), st.sampled_from(["web/GET", "db/query"])),
    unique_by=lambda one: one[0],
).map(lambda found: [(*one, number, 1, {}) for number, one in enumerate(found)])


@given(SPECS, SPECS)
def test_partners(base, compare):
    trees = tree_of(trace(*base), "base"), tree_of(trace(*compare), "compare")
    assert _partners(*trees) == by_hand(*trees)


def test_many_spans_alike_take_time_in_proportion():
    """One name for all of a large trace's spans, which have no parents."""

    def cpu_s(count):
        group = ResourceSpans()
        into = group.scope_spans.add().spans
        for number in range(count):
            into.add(trace_id=b"t" * 16, span_id=(number + 1).to_bytes(8, "big"), name="x")
        tree = tree_of([group], "base")
        begun = time.process_time()
        assert len(_partners(tree, tree)) == count
        return time.process_time() - begun

    assert min(cpu_s(80_000) for _ in range(3)) < 8 * min(cpu_s(20_000) for _ in range(3))
