"""Vulture against a server that answers truly, and against servers that lie: each lie is noticed and counted."""

import asyncio
import logging
import time
from collections import Counter
from random import Random
from typing import Any

import aiohttp
import pytest

from app.cli.vulture import metrics
from app.cli.vulture.servers import OtlpHttpSender, QueryApi
from app.cli.vulture.vulture import Vulture, VulturePlan
from app.cli.vulture.written import WrittenTraces
from tests.helpers.querying.api import serving
from tests.helpers.querying.known_traces_server import KnownTracesServer

PLAN = VulturePlan(
    seed="test",
    write_interval_s=1,
    late_write_s=0,
    check_after_s=0,
    recent_s=60,
    retention_s=3600,
    intervals={"read": 0.01, "search": 0.01, "metrics": 0.01},
)
TIME_S = 1_795_259_580


def errors() -> Counter:
    return Counter({name: metrics.TRACE_ERRORS.labels(name)._value.get() for name in metrics.ERROR_NAMES})


def checked(server: KnownTracesServer, traces: int = 4) -> tuple[Vulture, Counter, WrittenTraces]:
    """What vulture finds out about some traces."""
    before = errors()

    async def use(url: str) -> tuple[Vulture, WrittenTraces]:
        written = WrittenTraces(1, 10**9)
        async with aiohttp.ClientSession() as session:
            vulture = Vulture(PLAN, OtlpHttpSender(url, session), QueryApi(url, session), written, rng=Random(1))
            for number in range(traces):
                await vulture._one_trace(TIME_S + number)
        return vulture, written

    found: Any = asyncio.run(serving(server.app, use))
    return found[0], errors() - before, found[1]


def test_a_true_server() -> None:
    """All kinds of checks are made, many times, and none fails."""
    server = KnownTracesServer()
    vulture, found, written = checked(server, traces=15)
    assert found == Counter()
    assert (vulture.failures, vulture.write_failures) == (0, 0)
    assert vulture.checks == 15 * 7
    assert len(server.requests) > 15  # some traces have late writes
    paths = Counter(path.split("/")[2] for path, _ in server.asked)
    assert paths == {"v2": 3 * 15, "search": 3 * 15, "metrics": 15}
    assert written.ranges == ((TIME_S, TIME_S + 14),)


def at(wanted: str, change):
    """A lie about the paths that have `wanted` in them."""
    return lambda path, answer: change(answer) if wanted in path else answer


def spans_of(answer):
    return answer["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"]


def changed(answer, change):
    change(answer)
    return answer


def set_value(answer) -> None:
    spans_of(answer)[0]["attributes"][1]["value"] = {"stringValue": "another"}


def int_as_text(answer) -> None:
    (number,) = [one for one in spans_of(answer)[0]["attributes"] if one["key"] == "vulture.number"]
    number["value"] = {"stringValue": number["value"]["intValue"]}


def set_resource(answer) -> None:
    answer["trace"]["resourceSpans"][0]["resource"]["attributes"][1]["value"] = {"stringValue": "another"}


def one_more(answer) -> None:
    spans_of(answer).append({**spans_of(answer)[0], "spanId": "AAAAAAAAAAE="})


def set_matched(answer) -> None:
    for trace in answer["traces"]:
        for one in trace.get("spanSets", []):
            one["matched"] += 1


def other_traces(answer) -> None:
    answer["traces"].append({"traceID": "abc", "rootServiceName": "x", "startTimeUnixNano": "1"})


def set_root(answer) -> None:
    for trace in answer["traces"]:
        trace["rootTraceName"] = "another"


def add_to_count(answer) -> None:
    answer["series"][0]["samples"].append({"timestampMs": "1", "value": 1})


LIES = [
    pytest.param(at("/traces/", lambda _: {"trace": {}}), {"notfound_byid"}, id="no-trace"),
    pytest.param(at("/traces/", lambda a: changed(a, lambda a: spans_of(a).pop())), {"missingspans"}, id="no-span"),
    pytest.param(at("/traces/", lambda a: changed(a, set_value)), {"incorrectresult"}, id="attribute"),
    pytest.param(at("/traces/", lambda a: changed(a, int_as_text)), {"incorrectresult"}, id="type"),
    pytest.param(at("/traces/", lambda a: changed(a, set_resource)), {"incorrectresult"}, id="resource"),
    pytest.param(at("/traces/", lambda a: changed(a, one_more)), {"incorrectresult"}, id="more-spans"),
    pytest.param(
        at("/traces/", lambda a: changed(a, lambda a: spans_of(a).append(spans_of(a)[0]))),
        {"incorrectresult"},
        id="span-twice",
    ),
    pytest.param(
        at("/api/search", lambda a: {**a, "traces": []} if "traces" in a else a),
        {"notfound_search", "notfound_traceql", "notfound_structure"},
        id="not-found",
    ),
    pytest.param(at("/api/search", lambda a: changed(a, set_matched)), {"incorrect_search_result"}, id="matched"),
    pytest.param(at("/api/search", lambda a: changed(a, other_traces)), {"incorrect_search_result"}, id="too-many"),
    pytest.param(at("/api/search", lambda a: changed(a, set_root)), {"incorrect_search_result"}, id="root"),
    pytest.param(at("/search/tags", lambda a: {"scopes": []}), {"notfound_tag"}, id="no-tags"),
    pytest.param(
        at("/search/tags", lambda a: {"scopes": [{"name": "span", "tags": [*a["scopes"][0]["tags"], "x"]}]}),
        {"incorrect_tags"},
        id="further-tag",
    ),
    pytest.param(at("/values", lambda a: {"tagValues": a["tagValues"][1:]}), {"notfound_tag_value"}, id="no-value"),
    pytest.param(
        at("/values", lambda a: {"tagValues": [*a["tagValues"], {"type": "string", "value": "x"}]}),
        {"incorrect_tag_values"},
        id="further-value",
    ),
    pytest.param(at("/metrics/", lambda a: {"series": []}), {"notfound_metrics"}, id="no-series"),
    pytest.param(at("/metrics/", lambda a: changed(a, add_to_count)), {"inaccurate_metrics"}, id="count"),
    pytest.param(at("/metrics/", lambda a: {"series": a["series"][1:]}), {"inaccurate_metrics"}, id="a-service-less"),
    pytest.param(at("/traces/", lambda a: {**a, "status": "PARTIAL", "message": "block"}), {"partial"}, id="partial"),
    pytest.param(at("/traces/", lambda _: "no json"), {"requestfailed"}, id="no-json"),
    pytest.param(at("/traces/", lambda _: [1]), {"requestfailed"}, id="a-list"),
    pytest.param(at("/api/search", lambda _: {"traces": 5}), {"requestfailed"}, id="another-form"),
]


@pytest.mark.parametrize(("lie", "names"), LIES)
def test_a_lie(lie, names: set[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        vulture, found, _ = checked(KnownTracesServer(lie))
    # What is asked by other paths is answered truly.
    assert set(found) == names
    assert found.total() == vulture.failures
    line = next(one.getMessage() for one in caplog.records if f"error={next(iter(names))} " in one.getMessage())
    for name in ("check=", "age=fresh", "trace_id=", "path=", "expected=", "found="):
        assert name in line


def test_refused_writes_are_counted_and_not_checked() -> None:
    server = KnownTracesServer()
    server.refuses = 503
    before = metrics.ERRORS._value.get()
    vulture, found, written = checked(server)
    assert metrics.ERRORS._value.get() - before == vulture.write_failures == 4
    assert (vulture.checks, found, written.ranges) == (0, Counter(), ())


def test_it_goes_on_for_ever() -> None:
    """Recent and old traces are checked again and again; what was lost later is noticed."""
    server = KnownTracesServer()
    before = errors()

    async def use(url: str) -> None:
        written = WrittenTraces(1, 10**9)
        async with aiohttp.ClientSession() as session:
            vulture = Vulture(PLAN, OtlpHttpSender(url, session), QueryApi(url, session), written, rng=Random(1))
            now_s = vulture._time_of(time.time())
            for time_s in (now_s - 30, now_s - 300):
                await vulture._one_trace(time_s)
            running = asyncio.ensure_future(vulture.run())
            async with asyncio.timeout(20):
                while min(_count(kind, age) for kind in ("by_id", "metrics", "tags") for age in ("recent", "old")) < 2:
                    await asyncio.sleep(0.01)
                assert errors() == before
                server._engine._sources = []
                server.requests.clear()
                server.refuses = 503
                while (errors() - before)["notfound_byid"] < 2:
                    await asyncio.sleep(0.01)
                running.cancel()
                await asyncio.wait([running])

    asyncio.run(serving(server.app, use))


def _count(kind: str, age: str) -> float:
    return metrics.CHECKS.labels(kind, age)._value.get()
