"""The limits of tenants as the distributor sees them: from the overrides, as these are now."""

import time
from collections.abc import Callable
from typing import Final

from agents.distributor.limits import NO_LIMITS, TenantLimits
from app.process.overrides import OverridesFile
from app.settings.tenants.overrides import TenantOverrides

_NS_PER_S: Final = 1_000_000_000
_TENANTS_KEPT_MAX: Final = 10_000


class Recent:
    """A number that is asked for again only after a while."""

    def __init__(self, ask: Callable[[], int], keep_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """keep_s: for how long an answer counts"""
        self._ask, self._keep_s, self._clock = ask, keep_s, clock
        self._known, self._until_s = 0, float("-inf")

    def __call__(self) -> int:
        """The number."""
        now_s = self._clock()
        if now_s >= self._until_s:
            self._known, self._until_s = self._ask(), now_s + self._keep_s
        return self._known


class LimitsTable:
    """Thread-safe. See `LimitsOfTenants`."""

    def __init__(self, overrides: OverridesFile, distributors: Callable[[], int] = lambda: 1) -> None:
        """distributors: number of processes that receive spans, for limits of all of them together"""
        self._overrides, self._distributors = overrides, distributors
        self._version, self._count = -1, 0
        self._known: dict[str, TenantLimits] = {}
        self._none = True

    def none(self) -> bool:
        """Whether nothing is limited for anybody."""
        if self._version != self._overrides.version:
            self._refresh()
        return self._none

    def of(self, tenant: str) -> TenantLimits:
        """The limits of one tenant."""
        if self._version != self._overrides.version or self._count != self._distributors():
            self._refresh()
        known = self._known  # this one: another thread may replace it
        found = known.get(tenant)
        if found is None:
            if len(known) >= _TENANTS_KEPT_MAX:
                known.clear()
            found = known[tenant] = limits_of(self._overrides.of(tenant), max(1, self._count))
        return found

    def _refresh(self) -> None:
        # The version first: what changes meanwhile is seen the next time.
        self._version, self._count = self._overrides.version, self._distributors()
        self._known = {}
        self._none = all(limits_of(entry, 1) == NO_LIMITS for entry in self._overrides.all())


def limits_of(entry: TenantOverrides, distributors: int) -> TenantLimits:
    """The limits that a tenant's overrides mean for one of so many processes."""
    ingestion, costs = entry.ingestion, entry.cost_attribution
    shared_by = distributors if ingestion.rate_strategy == "global" else 1
    return TenantLimits(
        rate_bytes=ingestion.rate_limit_bytes / shared_by,
        burst_bytes=ingestion.burst_size_bytes if ingestion.rate_limit_bytes else 0,
        retry_info=ingestion.retry_info_enabled,
        attribute_bytes_max=ingestion.max_attribute_bytes,
        trace_bytes_max=ingestion.max_bytes_per_trace,
        request_spans_max=ingestion.max_spans_per_request,
        past_slack_ns=round(ingestion.past_slack * _NS_PER_S),
        future_slack_ns=round(ingestion.future_slack * _NS_PER_S),
        forwarders=entry.forwarders,
        dimensions=costs.dimensions,
        cardinality_max=costs.max_cardinality if costs.dimensions else 0,
    )
