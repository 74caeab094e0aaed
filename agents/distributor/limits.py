"""The limits of single tenants, as receivers and the span writer see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """Of one tenant. 0: no limit.

    rate_bytes, burst_bytes: bytes of requests a second, and at once
    retry_info: whether refused clients are told when to come again
    attribute_bytes_max: longer keys and values are cut; 0: as for all tenants
    trace_bytes_max: spans of a trace, together; request_spans_max: spans of a request
    past_slack_ns, future_slack_ns: how long ago a span may have ended, how far ahead it may start
    forwarders: names of those that get a copy; dimensions, cardinality_max: of /usage_metrics
    """

    rate_bytes: float = 0
    burst_bytes: int = 0
    retry_info: bool = True
    attribute_bytes_max: int = 0
    trace_bytes_max: int = 0
    request_spans_max: int = 0
    past_slack_ns: int = 0
    future_slack_ns: int = 0
    forwarders: tuple[str, ...] = ()
    dimensions: Mapping[str, str] = field(default_factory=dict)
    cardinality_max: int = 0

    @property
    def of_rows(self) -> bool:
        """Whether single spans may be discarded."""
        return bool(self.trace_bytes_max or self.past_slack_ns or self.future_slack_ns)


NO_LIMITS: Final = TenantLimits()


class LimitsOfTenants(Protocol):
    """The limits as they are now. Both calls are cheap, and may come from any thread."""

    def none(self) -> bool:
        """Whether nothing is limited for anybody."""
        ...

    def of(self, tenant: str) -> TenantLimits:
        """The limits of one tenant."""
        ...


class NoLimits:
    """Where nothing is limited."""

    def none(self) -> bool:
        """See LimitsOfTenants."""
        return True

    def of(self, _: str) -> TenantLimits:
        """See LimitsOfTenants."""
        return NO_LIMITS


class LimitExceeded(Exception):  # noqa: N818  (a state, not a fault of ours)
    """A request that a tenant's limit does not allow. HTTP 429, gRPC RESOURCE_EXHAUSTED; where a retry cannot help, 413
    and RESOURCE_EXHAUSTED without RetryInfo.

    reason: the label in metrics; retry_after_s: None: not told; final: a retry cannot help
    """

    def __init__(self, text: str, reason: str, *, retry_after_s: float | None = None, final: bool = False) -> None:
        super().__init__(text)
        self.reason, self.retry_after_s, self.final = reason, retry_after_s, final
