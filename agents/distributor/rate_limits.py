"""Ingestion rates of tenants: a token bucket of bytes for each tenant that has a limit."""

import math
import time
from collections.abc import Callable
from typing import Final

from agents.distributor.limits import LimitExceeded, LimitsOfTenants

RATE_LIMITED: Final = "rate_limited"
_RETRY_S_MIN: Final = 1.0
_RETRY_S_MAX: Final = 60.0
# Tenants come and go: those whose bucket is full again are forgotten when there are so many.
_BUCKETS_MAX: Final = 100_000


class _Bucket:
    """What a tenant may send now. left_bytes: as of at_s"""

    __slots__ = ("at_s", "left_bytes")

    def __init__(self, left_bytes: float, at_s: float) -> None:
        self.left_bytes, self.at_s = left_bytes, at_s


class RateLimits:
    """One per process; belongs to its event loop."""

    def __init__(self, limits: LimitsOfTenants, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds"""
        self._limits, self._clock = limits, clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, tenant: str, size_bytes: int) -> None:
        """Takes a request from the tenant's rate. Raises: LimitExceeded if that leaves less than nothing"""
        limits = self._limits.of(tenant)
        if not limits.rate_bytes:
            return
        now_s, burst = self._clock(), limits.burst_bytes or max(1, math.ceil(limits.rate_bytes))
        said = (
            f"tenant {tenant} may send {limits.rate_bytes:.0f} bytes a second and {burst} at once "
            "(overrides: ingestion.rate_limit_bytes, burst_size_bytes)"
        )
        if size_bytes > burst:
            raise LimitExceeded(
                f"{said}; a request of {size_bytes} bytes is never taken: send smaller ones", RATE_LIMITED, final=True
            )
        bucket = self._buckets.get(tenant)
        if bucket is None:
            self._forget_full(now_s)
            bucket = self._buckets[tenant] = _Bucket(burst, now_s)
        left = min(burst, bucket.left_bytes + (now_s - bucket.at_s) * limits.rate_bytes)
        bucket.at_s = now_s
        if size_bytes <= left:
            bucket.left_bytes = left - size_bytes
            return
        bucket.left_bytes = left
        wait_s = (size_bytes - left) / limits.rate_bytes
        retry_s = min(max(wait_s, _RETRY_S_MIN), _RETRY_S_MAX) if limits.retry_info else None
        raise LimitExceeded(
            f"{said}; {size_bytes} bytes more are too many now: send again later", RATE_LIMITED, retry_after_s=retry_s
        )

    def _forget_full(self, now_s: float) -> None:
        if len(self._buckets) < _BUCKETS_MAX:
            return
        for tenant, bucket in list(self._buckets.items()):
            limits = self._limits.of(tenant)
            burst = limits.burst_bytes or limits.rate_bytes
            if bucket.left_bytes + (now_s - bucket.at_s) * limits.rate_bytes >= burst:
                del self._buckets[tenant]
