"""One memory budget for all requests: each byte counts from its arrival until Kafka has acknowledged it.

All receivers and connections of a process share it. A tenant gets no more than its share: when it is used up, the
tenant is refused, and the others are not. The budget counts what is in memory: the bytes of a body that have arrived
(an upload that announces much and sends little holds little), its decompressed bytes, its JSON, and the request that
waits for Kafka. It does not count the copy that joins the pieces of a body, which each thread makes for one body at a
time.
"""

import asyncio
from functools import partial
from typing import Final, Literal, get_args

from prometheus_client import Counter, Gauge

from agents.distributor.span_writer import REFUSED
from app.process.memory import release_to_system

Stage = Literal["reading", "decompressing", "json", "translating", "waiting"]
_STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

INPUT_BYTES: Final = Gauge(
    "stretto_receiver_input_bytes",
    "Bytes of requests in memory, by stage: reading, decompressing, json (being decoded), waiting (for Kafka's "
    "acknowledgement).",
    ["stage"],
)
REFUSALS: Final = Counter(
    "stretto_receiver_input_refused_total",
    "Requests refused because the memory budget for requests is used up. Limit: all (distributor.input.bytes_max) "
    "or tenant (distributor.input.tenant_share).",
    ["limit"],
)

# A burst is over at this fraction of its peak; a smaller peak leaves too little memory behind to be worth the work.
_LOW: Final = 1 / 8
_BURST_BYTES: Final = 16 << 20
_RELEASE_AFTER_S: Final = 1.0


class Overloaded(Exception):  # noqa: N818  # a state, not a fault of the caller
    """The budget is used up: the client must retry later. HTTP 429, gRPC RESOURCE_EXHAUSTED."""


class InputBudget:
    """The budget of a process; belongs to its event loop."""

    def __init__(self, bytes_max: int, tenant_share: float = 1.0) -> None:
        """tenant_share: largest share of bytes_max for one tenant's requests, from 0 to 1"""
        self._bytes_max, self._tenant_bytes_max = bytes_max, int(bytes_max * tenant_share)
        self._bytes = 0
        self._peak_bytes = 0
        self._by_tenant: dict[str, int] = {}
        self._by_stage: dict[Stage, int] = dict.fromkeys(_STAGES, 0)
        for stage in _STAGES:
            # Computed on scrape: setting a gauge costs microseconds for each piece of each request.
            INPUT_BYTES.labels(stage).set_function(partial(self._by_stage.__getitem__, stage))

    @property
    def used_bytes(self) -> int:
        """Bytes that all requests hold together."""
        return self._bytes

    def open(self, tenant: str) -> "InputBytes":
        """The account of a new request, which holds nothing yet."""
        return InputBytes(self, tenant)

    def check(self, tenant: str, more_bytes: int) -> None:
        """Raises: Overloaded if a request of the tenant cannot hold this many more bytes now"""
        if self._bytes + more_bytes > self._bytes_max:
            limit, used, most, setting = "all", self._bytes, self._bytes_max, "bytes_max"
        elif (used := self._by_tenant.get(tenant, 0)) + more_bytes > self._tenant_bytes_max:
            limit, most, setting = "tenant", self._tenant_bytes_max, "tenant_share"
        else:
            return
        REFUSALS.labels(limit).inc()
        REFUSED.labels("overloaded").inc()
        whose = f"requests of tenant {tenant}" if limit == "tenant" else "requests"
        raise Overloaded(
            f"{whose} hold {used} bytes of memory, {more_bytes} more exceed the limit of {most} "
            f"(distributor.input.{setting}); send again later"
        )

    def count(self, tenant: str, stage: Stage, change: int) -> None:
        """Adds bytes to a stage of a tenant; a negative change gives bytes back."""
        self._by_stage[stage] += change
        self._bytes += change
        if change > 0:
            self._peak_bytes = max(self._peak_bytes, self._bytes)
        left = self._by_tenant.get(tenant, 0) + change
        if left:
            self._by_tenant[tenant] = left
        else:
            self._by_tenant.pop(tenant, None)
        if self._peak_bytes >= _BURST_BYTES and self._bytes <= self._peak_bytes * _LOW:
            self._peak_bytes = self._bytes
            # By then the memory of the burst's last requests is free.
            asyncio.get_running_loop().call_later(_RELEASE_AFTER_S, _release_on_thread)


class InputBytes:
    """The bytes that one request holds in the budget, by stage, until `release`."""

    __slots__ = ("_budget", "_held", "_tenant")

    def __init__(self, budget: InputBudget, tenant: str) -> None:
        self._budget, self._tenant = budget, tenant
        self._held: dict[Stage, int] = {}

    def expect(self, more_bytes: int) -> None:
        """Checks room for announced bytes, without holding them: they may never arrive. Raises: Overloaded"""
        self._budget.check(self._tenant, more_bytes)

    def add(self, stage: Stage, more_bytes: int) -> None:
        """Holds more bytes. Raises: Overloaded; the request then holds what it held before"""
        self._budget.check(self._tenant, more_bytes)
        self._set(stage, self._held.get(stage, 0) + more_bytes)

    def become(self, stage: Stage, size_bytes: int) -> None:
        """Replaces all that the request holds by this size in this stage. Raises: as `add`"""
        more_bytes = size_bytes - sum(self._held.values())
        if more_bytes > 0:
            self._budget.check(self._tenant, more_bytes)
        for other in list(self._held):
            if other != stage:
                self._set(other, 0)
        self._set(stage, size_bytes)

    def release(self) -> None:
        """Gives all bytes back."""
        for stage in list(self._held):
            self._set(stage, 0)

    def _set(self, stage: Stage, size_bytes: int) -> None:
        change = size_bytes - self._held.pop(stage, 0)
        if size_bytes:
            self._held[stage] = size_bytes
        if change:
            self._budget.count(self._tenant, stage, change)


def _release_on_thread() -> None:
    loop = asyncio.get_running_loop()

    def again(released: "asyncio.Future[bool]") -> None:
        # Another call has done it a moment ago, when the memory of this burst may not have been free yet.
        if not released.cancelled() and released.exception() is None and not released.result():
            loop.call_later(_RELEASE_AFTER_S, _release_on_thread)

    loop.run_in_executor(None, release_to_system).add_done_callback(again)
