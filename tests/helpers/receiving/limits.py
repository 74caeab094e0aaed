"""Limits of tenants for tests, and a writer that has them."""

from collections.abc import Mapping
from typing import Any

from agents.distributor.forwarders.forwarder import Forwarding
from agents.distributor.limits import NO_LIMITS, TenantLimits
from agents.distributor.rate_limits import RateLimits
from agents.distributor.requests import Outcome, Request
from agents.distributor.span_encoder import SpanEncoder
from agents.distributor.span_inspector import SpanInspector
from agents.distributor.span_rules import SpanRules
from agents.distributor.tenant_metrics import TenantMetrics
from agents.distributor.trace_sizes import TraceSizes
from app.receivers.ingress import Tenancy
from tables.wire.otlp.raw_spans import RawSpans

NOW_NS = 1_700_000_000_000_000_000


class FixedLimits:
    """See `LimitsOfTenants`: what a test says."""

    def __init__(self, limits: Mapping[str, TenantLimits]) -> None:
        self.limits = dict(limits)

    def none(self) -> bool:
        return not self.limits

    def of(self, tenant: str) -> TenantLimits:
        return self.limits.get(tenant, NO_LIMITS)


def inspector(limits: Mapping[str, TenantLimits], traces_max: int = 4096, **options: Any) -> SpanInspector:
    table = FixedLimits(limits)
    return SpanInspector(table, SpanRules(table, TraceSizes(traces_max, 900.0), lambda: NOW_NS), **options)


def encoder(inspected: SpanInspector, message_bytes_max: int = 1_000_000) -> SpanEncoder:
    return SpanEncoder(message_bytes_max, 65_536, 10.0, inspected)


def discards(outcome: Outcome) -> dict[str, int]:
    return {one.reason: one.spans for one in outcome.discarded}


def of(tenant: str, body: bytes, received_ns: int = 0) -> Request:
    return Request(tenant, body, received_ns)


def tenancy_without_limits() -> Tenancy:
    """What the doors of a process share where nobody has limits."""
    return Tenancy(FixedLimits({}), RateLimits(FixedLimits({})), TenantMetrics(), Forwarding({}), RawSpans())
