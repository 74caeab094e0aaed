"""Gathers requests of all clients and tenants for some milliseconds, so that batches and records stay big.

How many requests a batch holds decides what a span costs (measured: 35 CPU seconds per 1M spans with one request a
batch, 13 with ten). So at most one batch is made per `gather_ms`; a request that comes after a pause waits only a
moment, for others of the same burst.
"""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import Gauge, Histogram

from agents.span_writer import REFUSED, Outcome, Request, SpanWriter

IN_FLIGHT_BYTES = Gauge("stretto_receiver_in_flight_bytes", "Bytes of requests that are not acknowledged yet.")
BATCH_REQUESTS = Histogram(
    "stretto_receiver_batch_requests", "Requests gathered into a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)

# After a pause: long enough for the other requests of a burst, too short to notice.
_FIRST_WAIT_S = 0.005


class Overloaded(Exception):  # noqa: N818  # a state, not a fault of the caller
    """Too many bytes wait to be acknowledged: the client must send again later."""


@dataclass(frozen=True, slots=True)
class GatherLimits:
    """gather_s: at most one batch per so many seconds, unless it is full. batch_bytes: when it is full.
    in_flight_bytes_max: above it requests are refused.
    """

    gather_s: float
    batch_bytes: int
    in_flight_bytes_max: int


class _Waiting(NamedTuple):
    request: Request
    outcome: "asyncio.Future[Outcome]"


class Gatherer:
    """One for a process; belongs to its event loop."""

    def __init__(self, writer: SpanWriter, limits: GatherLimits) -> None:
        self._writer, self._limits = writer, limits
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._in_flight_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last_batch_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(self, tenant: str, body: bytes) -> Outcome:
        """Writes a request. Raises: Overloaded, KafkaUnavailable."""
        limits = self._limits
        if self._in_flight_bytes + len(body) > limits.in_flight_bytes_max and self._in_flight_bytes:
            REFUSED.labels("overloaded").inc()
            raise Overloaded(
                f"{self._in_flight_bytes} bytes wait to be acknowledged, the limit is {limits.in_flight_bytes_max} "
                "(distributor.gather.in_flight_bytes_max); send again later"
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(Request(tenant, body), loop.create_future())
        self._waiting.append(waiting)
        self._waiting_bytes += len(body)
        self._count_in_flight(len(body))
        if self._waiting_bytes >= limits.batch_bytes:
            self._go()
        elif self._timer is None:
            since_last_s = loop.time() - self._last_batch_s
            self._timer = loop.call_later(max(_FIRST_WAIT_S, limits.gather_s - since_last_s), self._go)
        try:
            return await waiting.outcome
        finally:
            self._count_in_flight(-len(body))

    async def drain(self) -> None:
        """Writes what waits, and returns when all is acknowledged or refused."""
        self._go()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _count_in_flight(self, change: int) -> None:
        self._in_flight_bytes += change
        IN_FLIGHT_BYTES.set(self._in_flight_bytes)

    def _go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._last_batch_s = asyncio.get_running_loop().time()
        BATCH_REQUESTS.observe(len(batch))
        task = asyncio.ensure_future(self._write(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._writer.write([w.request for w in batch])
        except Exception as err:  # noqa: BLE001  # every client gets an answer, whatever went wrong
            for waiting in batch:
                if not waiting.outcome.done():  # done: the client went away
                    waiting.outcome.set_exception(err)
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.outcome.done():
                waiting.outcome.set_result(outcome)
