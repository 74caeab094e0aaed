"""Limits of single tenants' queries, as clients meet them: over HTTP, and in the memory that a query may use."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from app.api.call import limits_of
from app.api.errors import explain
from app.api.limits import ApiLimits
from app.api.tenants import TenantApi
from app.settings.tenants.tenant_limits import ReadOverrides
from query.engine.distinct import TagValue
from query.memory import (
    MemoryBudget,
    QueryTooLarge,
    ReadsTooMuch,
    RequestLimit,
    SharedMemory,
    limit_request,
    request,
    request_budget,
)
from query.requests import TagValuesRequest
from query.tags.tag_text import parse_tag
from query.tags.tags import tag_values
from tests.helpers.querying.api import LIMITS, api_over, serving
from tests.helpers.querying.engine import Engine

OWN = {
    "a": ReadOverrides(max_search_duration=60, max_metrics_duration=120, max_bytes_per_tag_values_query=9),
}
TENANTS = TenantApi(limits_of=lambda tenant: LIMITS.of_tenant(OWN.get(tenant, ReadOverrides())))


@pytest.mark.parametrize(
    ("path", "longest_s", "name"),
    [
        ("/api/search?q={}", 60, "max_search_duration"),
        ("/api/metrics/query_range?q={}|rate()", 120, "max_metrics_duration"),
        ("/api/metrics/query?q={}|rate()", 120, "max_metrics_duration"),
    ],
)
def test_durations(ask, path, longest_s, name):
    """The error names the override; other tenants have the limits of all."""

    def asked(tenant, seconds):
        url = f"{path}&start=1000&end={1000 + seconds}"
        return ask(url, headers={"X-Scope-OrgID": tenant}, multitenancy=True, tenants=TENANTS)

    assert asked("a", longest_s).status == 200
    refused = asked("a", longest_s + 1)
    text = f"the setting read.{name} of the tenant's overrides allows {longest_s} s"
    assert (refused.status, text in refused.text) == (400, True), refused.text
    assert asked("b", longest_s + 1).status == 200


def test_bytes_of_tag_values(ask, backend):
    """Reach the query, which leaves out what is more."""
    for tenant in ("a", "b"):
        url = "/api/v2/search/tag/span.x/values"
        assert ask(url, headers={"X-Scope-OrgID": tenant}, multitenancy=True, tenants=TENANTS).status == 200
    assert [one["bytes_max"] for one in backend.asked] == [9, 0]


@pytest.mark.parametrize(
    ("tenant", "setting"),
    [
        ("r", "read.max_bytes_read_per_query of the tenant's overrides"),
        ("a", "query_frontend.max_bytes_read_per_query"),
        ("a|r", "read.max_bytes_read_per_query of the tenant's overrides"),
    ],
)
def test_bytes_read(tenant, setting):
    """A tenant's own counts, or else that of all; of several tenants the least. What reads stops, and says why."""
    limits = replace(LIMITS, max_bytes_read_per_query=100)
    own = {"r": ReadOverrides(max_bytes_read_per_query=10)}
    with request():
        limits_of(tenant, lambda name: limits.of_tenant(own.get(name, ReadOverrides())))
        budget = request_budget(lambda: MemoryBudget(1000, SharedMemory(1 << 20)))
        budget.check_read(10)
        with pytest.raises(ReadsTooMuch) as err:
            budget.check_read(101)
    assert setting in str(err.value)
    assert explain(err.value, "it") == (422, str(err.value))
    with request():
        limits_of("a", lambda _: LIMITS)
        request_budget(lambda: MemoryBudget(1000, SharedMemory(1 << 20))).check_read(1 << 40)


class Limited(Engine):
    """Notes how much memory each query may use."""

    def __init__(self):
        super().__init__([])
        self.bytes_max = []

    def __getattribute__(self, name):
        if name in ("search", "metrics_range", "metrics_instant", "tag_names", "tag_values", "trace"):
            budget = request_budget(lambda: MemoryBudget(1 << 30, SharedMemory(1 << 40)))
            super().__getattribute__("bytes_max").append(budget.bytes_max)
        return super().__getattribute__(name)


TRACE_ID = "0" * 31 + "1"
DIFF = f'{{"base": {{"traceId": "{TRACE_ID}"}}, "compare": {{"traceId": "{TRACE_ID}"}}}}'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/search?q={}", None),
        ("/api/search?tags=a%3Db", None),
        ("/api/search/stream?q={}", None),
        ("/api/metrics/query_range?q={}|rate()", None),
        ("/api/metrics/query?q={}|rate()", None),
        ("/api/search/tags", None),
        ("/api/v2/search/tags", None),
        ("/api/search/tag/name/values", None),
        ("/api/v2/search/tag/name/values", None),
        (f"/api/traces/{TRACE_ID}", None),
        (f"/api/v2/traces/{TRACE_ID}", None),
        (f"/api/v2/traces/{TRACE_ID}?limit=5", None),
        (f"/api/v2/traces/{TRACE_ID}?q={{}}", None),
        (f"/api/v2/traces/{TRACE_ID}/outline", None),
        (f"/api/v2/traces/{TRACE_ID}/matches?q={{}}", None),
        ("/api/service-map?since=1h", None),
        ("/api/v2/traces/diff", DIFF),
    ],
)
def test_every_question_has_the_tenants_memory(path, body):
    backend, own = Limited(), ReadOverrides(max_query_memory_bytes=4 << 20)
    tenants = TenantApi(limits_of=lambda _: LIMITS.of_tenant(own))

    async def use(base):
        async with aiohttp.ClientSession() as session:
            headers = {"X-Scope-OrgID": "a"}
            async with session.request("POST" if body else "GET", base + path, headers=headers, data=body) as answer:
                text = await answer.text()
                assert answer.status in {200, 404}, text
                assert "no such endpoint" not in text

    asyncio.run(serving(api_over(backend, multitenancy=True, tenants=tenants), use))
    assert backend.bytes_max
    assert set(backend.bytes_max) == {4 << 20}


def test_tag_values_of_few_bytes():
    """Those that fit."""
    kinds = TagValuesRequest(fields=(parse_tag("kind"),))
    all_values = tag_values([], kinds).values
    some = tag_values([], TagValuesRequest(fields=(parse_tag("kind"),), bytes_max=12)).values
    assert 0 < len(some) < len(all_values)
    assert all(isinstance(one, TagValue) for one in some)


def test_memory():
    """A tenant's limit holds below that of all, never above it; the error names it."""
    made = lambda: MemoryBudget(1000, SharedMemory(1 << 20))  # noqa: E731
    with request():
        limit_request(RequestLimit(100, "read.x"))
        budget = request_budget(made)
        budget.reserve(100, "it")
        with pytest.raises(QueryTooLarge, match=r"read\.x"):
            budget.reserve(1, "more")
    with request():
        limit_request(RequestLimit(5000, "read.x"))
        budget = request_budget(made)
        with pytest.raises(QueryTooLarge, match=r"query\.memory_bytes_max"):
            budget.reserve(1001, "it")


def test_limits_over_all():
    """What a tenant does not have of its own is as for all."""
    limits = ApiLimits(max_search_duration_s=5, max_metrics_duration_s=6).of_tenant(ReadOverrides())
    assert limits == ApiLimits(max_search_duration_s=5, max_metrics_duration_s=6)
