"""Batches the requests of all clients and tenants for some milliseconds, so that batches and records stay large.

The cost of a span depends on the number of requests in a batch (measured: 35 CPU seconds per 1M spans with one request
per batch, 13 with ten). So the batcher makes at most one batch per `window_ms`, unless it is full or all clients wait
for it. A request after a pause waits only a moment, for others of the same burst. While a batch is being written for
longer than that, the machine has enough to do, and what comes gathers until it is written: a small one beside it would
only make it slower.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from prometheus_client import Gauge, Histogram

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_encoder import PIECE_BYTES
from agents.distributor.span_writer import NotAcknowledged, Outcome, Request, SpanWriter
from app.receivers.batcher import Settled, Writing
from app.receivers.input_budget import InputBytes, Overloaded
from app.receivers.unsettled import UnsettledRequests
from tables.errors import as_value
from tables.wall import ENDINGS

log = logging.getLogger(__name__)

IN_FLIGHT_BYTES = Gauge("stretto_receiver_in_flight_bytes", "Bytes of requests that Kafka has not acknowledged yet.")
BATCH_REQUESTS = Histogram(
    "stretto_receiver_batch_requests", "Requests in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)

# After a pause: long enough for the other requests of a burst, too short to notice.
_FIRST_WAIT_S = 0.005


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """window_s: at most one batch in this time, unless it is full; batch_bytes: size of a full batch
    wait_s: how long a retried request waits for its first attempt
    """

    window_s: float
    batch_bytes: int
    wait_s: float


class _PendingRequest:
    """A request on its way to Kafka."""

    __slots__ = ("_batcher", "_held", "_settled", "request")

    def __init__(self, batcher: "RequestBatcher", request: Request, held: InputBytes | None, settled: Settled) -> None:
        self._batcher, self._held, self.request = batcher, held, request
        self._settled: Settled | None = settled

    def settle(self, result: Outcome | BaseException) -> None:
        """Gives the request's bytes back, and tells who waits."""
        settled, self._settled = self._settled, None
        if settled is None:
            return
        self._batcher.count_in_flight(-len(self.request.body))
        _release(self._held)
        try:
            settled(result)
        except Exception:  # the others of its batch hear of theirs
            log.exception("an answer was not given")

    def gone(self) -> None:
        """The client went away. It may retry the request, which must not be written twice."""
        if self._settled is None:
            return
        self._settled = _nobody
        if not self._batcher.withdraw(self):
            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            self._settled = partial(_settle, outcome)
            self._batcher.remember(self.request, outcome)


class _Twin:
    """A request that waits for its first attempt."""

    __slots__ = ("_task",)

    def __init__(self, task: "asyncio.Task[Outcome]") -> None:
        self._task = task

    def gone(self) -> None:
        self._task.cancel()


class RequestBatcher:
    """One per process; belongs to its event loop."""

    def __init__(self, writer: SpanWriter, limits: BatchLimits) -> None:
        self._writer, self._limits = writer, limits
        self._waiting: list[_PendingRequest] = []
        self._waiting_bytes = 0
        self._in_flight_bytes = 0
        IN_FLIGHT_BYTES.set_function(lambda: self._in_flight_bytes)  # when it is read: setting it costs a microsecond
        self._timer: asyncio.TimerHandle | None = None
        self._last_batch_s = 0.0
        self._writing = 0  # batches
        self._is_held = False  # what waits had its time, and waits for a batch that is being written
        self._expected: int | None = None  # number of requests once all clients wait; None: unknown
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled = UnsettledRequests()

    async def add(self, tenant: str, body: bytes, held: InputBytes | None = None) -> Outcome:
        """Writes a request; returns its outcome when Kafka has acknowledged it.

        held: the request's bytes in the budget. The batcher releases them when the body is no longer needed. This may
        be after this call ends: a client that disconnects leaves its request in a batch
        Raises: KafkaUnavailable
        """
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        writing = self.submit(tenant, body, held, partial(_settle, outcome))
        try:
            return await outcome
        except asyncio.CancelledError:
            if outcome.cancelled():
                writing.gone()
            else:  # the client has not heard of it
                self.remember(Request(tenant, body), outcome)
            raise

    def submit(self, tenant: str, body: bytes, held: InputBytes | None, settled: Settled) -> Writing:
        """Writes a request as `add` does, without a task of its own; `settled` hears the outcome, see `Batcher`."""
        request = Request(tenant, body)
        twin = self._unsettled.take(request)
        if twin is not None:
            task = asyncio.ensure_future(self._await_twin(request, twin))
            task.add_done_callback(partial(_tell, settled))
            # The client may go away before the task begins; then nothing of it runs.
            task.add_done_callback(lambda _: _release(held))
            return _Twin(task)
        waiting = _PendingRequest(self, request, held, settled)
        self.count_in_flight(len(body))
        if len(body) > PIECE_BYTES:
            # Decoding takes long; others must not wait for it.
            self._start(self._answer([waiting]))
        else:
            self._collect(waiting)
        return waiting

    def _collect(self, waiting: _PendingRequest) -> None:
        limits = self._limits
        self._waiting.append(waiting)
        self._waiting_bytes += len(waiting.request.body)
        if self._waiting_bytes >= limits.batch_bytes or self._all_are_here():
            self._go()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            since_last_s = loop.time() - self._last_batch_s
            self._timer = loop.call_later(max(_FIRST_WAIT_S, limits.window_s - since_last_s), self._time_is_over)

    async def _await_twin(self, request: Request, twin: "asyncio.Future[Outcome]") -> Outcome:
        """Waits for an earlier attempt with the same bytes: it was refused, and may have been written since."""
        done, _ = await asyncio.wait({twin}, timeout=self._limits.wait_s)
        if not done:
            raise KafkaUnavailable("Kafka has not acknowledged the request's first sending yet; send again later")
        self._unsettled.done(request)
        return twin.result()

    def withdraw(self, waiting: _PendingRequest) -> bool:
        """Takes a request back whose client went away. False: it is being written."""
        if waiting not in self._waiting:
            return False
        self._waiting.remove(waiting)
        self._waiting_bytes -= len(waiting.request.body)
        waiting.settle(Outcome())
        return True

    def remember(self, request: Request, outcome: "asyncio.Future[Outcome]") -> None:
        """A request whose client went away: it may retry it."""
        self._unsettled.add(request, outcome)

    async def drain(self) -> None:
        """Writes what waits. Returns when all requests are acknowledged or refused."""
        self._go()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _all_are_here(self) -> bool:
        """Whether all clients that had a request here when the last batch was written have one again.

        Clients that wait for their answers before they send more would only be delayed by a longer wait. Where they
        send at their own pace, a batch's time is over earlier: in it come as many requests as in the batch before, and
        here those count besides that came while that one was written.
        """
        return not self._tasks and self._expected is not None and len(self._waiting) >= self._expected

    def count_in_flight(self, change: int) -> None:
        """Adds bytes of requests that are not acknowledged."""
        self._in_flight_bytes += change

    def _time_is_over(self) -> None:
        if self._writing:
            self._is_held = True
            self._timer = asyncio.get_running_loop().call_later(self._limits.window_s, self._go)
        else:
            self._go()

    def _go(self) -> None:
        self._is_held = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        batch, self._waiting, self._waiting_bytes = self._waiting, [], 0
        self._last_batch_s = asyncio.get_running_loop().time()
        BATCH_REQUESTS.observe(len(batch))
        self._start(self._write(batch))

    def _start(self, writing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(writing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, batch: list[_PendingRequest]) -> None:
        self._expected = None
        self._writing += 1
        try:
            await self._answer(batch)
        finally:
            self._writing -= 1
        self._expected = len(batch) + len(self._waiting)
        if self._is_held and not self._writing and self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(_FIRST_WAIT_S, self._go)
        # Now, not a turn of the loop later: clients send their next requests as soon as they have their answers.
        self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer(self, batch: list[_PendingRequest]) -> None:
        try:
            outcomes = await self._writer.write([w.request for w in batch])
        except NotAcknowledged as err:
            for waiting, outcome in zip(batch, err.outcomes, strict=True):
                if err.settled is not None:
                    self._unsettled.add(waiting.request, _when(err.settled, outcome))
                waiting.settle(KafkaUnavailable(str(err)))
        except BaseException as err:  # every client gets an answer, whatever went wrong
            fault = err if isinstance(err, Exception) else KafkaUnavailable(f"the request was not written: {err!r}")
            if isinstance(err, MemoryError):
                fault = Overloaded("no memory is left for the request; send again later")
            if isinstance(fault, KafkaUnavailable | Overloaded):
                as_value(fault)  # it says all; its traceback would keep the batch
            for waiting in batch:
                waiting.settle(fault)
            if isinstance(err, ENDINGS):
                raise
        else:
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.settle(outcome)


def _nobody(_: Outcome | BaseException) -> None:
    pass


def _settle(future: "asyncio.Future[Outcome]", result: Outcome | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def _tell(settled: Settled, done: "asyncio.Future[Outcome]") -> None:
    if not done.cancelled():
        settled(done.exception() or done.result())


def _release(held: InputBytes | None) -> None:
    if held is not None:
        held.release()


async def _when(settled: "asyncio.Future[None]", outcome: Outcome) -> Outcome:
    await asyncio.wait({settled})
    if settled.exception() is not None:
        raise KafkaUnavailable("Kafka did not take the spans; send again") from settled.exception()
    return outcome
