"""Limits of single tenants' queries, as clients meet them: over HTTP, and in the memory that a query may use."""

from dataclasses import replace

import pytest

from app.api.call import limits_of
from app.api.errors import explain
from app.api.limits import ApiLimits
from app.api.tenants import TenantApi
from app.settings.tenant_limits import ReadOverrides
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
from tests.helpers.api import LIMITS

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
