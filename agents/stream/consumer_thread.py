"""Faust's thread that talks to Kafka, adapted so that no error or silence of Kafka ends it or blocks it.

aiokafka's consumer has tasks that join the group and fetch. They can end, or wait for ever, and Faust does not notice.
Here each call into the thread is a task of its own, so that no call waits behind another. The thread reports the state
of its consumer, and a new consumer can replace it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, Final

import faust
from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from aiokafka.protocol.group import LeaveGroupRequest
from faust.transport.drivers import aiokafka as driver
from prometheus_client import Counter

from agents.stream.fetch_pace import FetchPace
from agents.stream.kafka_start import reached

log = logging.getLogger(__name__)

ERRORS: Final = Counter(
    "stretto_consumer_errors_total",
    "Errors while consuming from Kafka after which consumption continued.",
    ["app", "error"],
)

_STOP_S: Final = 1.5
_LEAVE_S: Final = 1.0
_CONNECT_S: Final = 5.0
_LOOK_S: Final = 0.5
_AFTER_ERROR_S: Final = 0.5
# Of one call: as many records as Faust asks for, or while they are small more, up to these.
_POLL_BYTES: Final = 1 << 20
_POLL_RECORDS: Final = 1024


class Abandoned(IllegalStateError):  # type: ignore[misc]  # noqa: N818  # aiokafka has no types here
    """The consumer was replaced, or the thread ended, during a call. Faust treats it as a rebalance."""


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types here
    """A consumer thread that also ends while Kafka is away. aiokafka then waits for its coordinator, or raises its own
    CancelledError, and Faust waits for a thread that never reports its end.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.failure = ""  # why the consumer does not go on by itself; "": it does
        self.beat_s = time.monotonic()  # when the thread's loop last turned to us
        self.topics: set[str] = set()
        self.has_left = False  # the group, for good
        self._consumer: Any = None
        self._calls: set[asyncio.Task[Any]] = set()

    async def on_start(self) -> None:
        """Connects. Raises, as the end of the process: KafkaError, OSError, TimeoutError."""
        self.time_started = time.monotonic()
        self._consumer = await reached("open the consumer", self.connected, attempt_s=2 * _CONNECT_S)

    # ---- calls from the main loop

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function in the thread. Faust runs at most two calls at once, so that two hanging calls would block
        all.

        Raises: Abandoned, and whatever the function raises
        """
        running = asyncio.run_coroutine_threadsafe(self._called(fun, args, kwargs), self.thread_loop)
        # A caller that stops waiting does not cancel it: records already taken from aiokafka would be lost.
        result = asyncio.wrap_future(running)
        result.add_done_callback(_seen)
        return await asyncio.shield(result)

    async def _called(self, fun: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            result = fun(*args, **kwargs)
            return await result if isawaitable(result) else result
        except asyncio.CancelledError:
            # By us, or by aiokafka, which does so where a connection ends at the wrong time.
            raise Abandoned(f"{getattr(fun, '__name__', fun)} was cancelled") from None
        finally:
            self._calls.discard(task)

    async def subscribe(self, topics: Iterable[str]) -> None:
        """As Faust's, and stores the topics for a new consumer."""
        self.topics = set(topics)
        await super().subscribe(self.topics)

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  # Faust's signature
        """Records by partition. None after an error; then `failure` or the log names it."""
        try:
            return await super().getmany(active_partitions, timeout)
        except Abandoned:
            return {}

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float | None = None,  # noqa: ASYNC109  # Faust's signature
        max_records: int | None = None,
    ) -> Any:
        """At least max_records, if there are so many: small ones until they are a megabyte. Each call from the main
        loop takes many turns of it, so that on a busy one 32 records at a time are 50 a second.
        """
        try:
            records = dict(await super()._fetch_records(consumer, active_partitions, timeout, max_records))
            await self._add_small_ones(records, consumer, active_partitions, max_records)
            return records
        except ConsumerStoppedError:
            if self.should_stop:
                raise
            return {}
        except Exception as err:  # noqa: BLE001  # Faust would end the worker
            self._went_wrong(err)
            await asyncio.sleep(_AFTER_ERROR_S)
            return {}

    async def _add_small_ones(
        self, records: dict[Any, list[Any]], consumer: Any, active_partitions: Any, max_records: int | None
    ) -> None:
        """What aiokafka has in its buffers. Nothing that is in `records` may be lost: it would not come again."""
        if not max_records:
            return
        count, size = _size(records)
        while count >= max_records and size < _POLL_BYTES and count < _POLL_RECORDS:
            try:
                more = await super()._fetch_records(consumer, active_partitions, 0, max_records)
            except Exception as err:  # noqa: BLE001  # it will be raised again, or has passed
                log.debug("%s: fewer records at once after %r", self.app.conf.name, err)
                return
            if not more:
                return
            for partition, found in more.items():
                records.setdefault(partition, [])
                records[partition] = [*records[partition], *found]
            added, bytes_ = _size(more)
            count, size = count + added, size + bytes_

    # ---- how it is

    @faust.Service.task
    async def _look_after(self) -> None:
        while not self.should_stop:
            self.beat_s = time.monotonic()
            try:
                self._look()
            except Exception as err:  # noqa: BLE001  # Faust would end the worker
                self._went_wrong(err)
            await asyncio.sleep(_LOOK_S)

    def _look(self) -> None:
        consumer = self._consumer
        coordinator, fetcher = getattr(consumer, "_coordinator", None), getattr(consumer, "_fetcher", None)
        if consumer is None or consumer._closed or coordinator is None or fetcher is None:  # noqa: SLF001
            return
        tasks = {
            "joining the consumer group": coordinator._coordination_task,  # noqa: SLF001
            "fetching": fetcher._fetch_task,  # noqa: SLF001
        }
        for what, task in tasks.items():
            if task.done():
                error = "it was cancelled" if task.cancelled() else repr(task.exception())
                self.failure = f"{what} has ended: {error}"
                return
        beating = coordinator._heartbeat_task  # noqa: SLF001
        if beating is not None and beating.done() and not beating.cancelled() and beating.exception() is not None:
            self.failure = f"heartbeats have ended: {beating.exception()!r}"
        # The coordinator does nothing until somebody asks for its last error; Faust never asks.
        coordinator.check_errors()

    def _went_wrong(self, err: Exception) -> None:
        ERRORS.labels(self.app.conf.name, type(err).__name__).inc()
        log.warning("%s: consuming goes on after %r", self.app.conf.name, err)

    # ---- another consumer

    async def connected(self) -> Any:
        """Runs in the thread: a new consumer that is connected to Kafka but in no group yet.

        Raises: KafkaError, TimeoutError
        """
        consumer = self._create_consumer(loop=self.thread_loop)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await consumer.start()
            FetchPace(consumer._fetcher)  # noqa: SLF001
        except BaseException:
            await self._end(consumer)
            raise
        return consumer

    async def replace(self, consumer: Any) -> None:
        """Runs in the thread: uses this consumer from now on, and abandons the calls that wait for the former one."""
        former, self._consumer = self._consumer, consumer
        self.failure = ""
        for call in self._calls - {asyncio.current_task()}:
            call.cancel()
        if former is not None:
            await self._end(former)
        consumer.subscribe(topics=set(self.topics), listener=self._rebalance_listener)

    async def leave_group(self) -> None:
        """Runs in the thread: leaves the group for good, and goes on fetching the partitions that it has.

        aiokafka leaves only when the consumer ends, and a static member never: the others would wait until it is
        missed. Commits fail from now on.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001
        self.has_left = True
        tasks = [coordinator._coordination_task, coordinator._heartbeat_task]  # noqa: SLF001
        running = [task for task in tasks if task is not None and not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_LEAVE_S)
        # What takes its place ends with the consumer: fetching looks whether it goes on, and the end waits for it.
        ended = coordinator._closing  # noqa: SLF001
        coordinator._coordination_task = asyncio.ensure_future(_until(ended))  # noqa: SLF001
        coordinator._heartbeat_task = None  # noqa: SLF001
        request = LeaveGroupRequest(coordinator.group_id, coordinator.member_id)
        async with asyncio.timeout(_LEAVE_S):
            await coordinator._send_req(request)  # noqa: SLF001

    async def _end(self, consumer: Any) -> None:
        """Stops a consumer, whatever state it is in."""
        consumer._closed = True  # noqa: SLF001
        coordinator, fetcher = consumer._coordinator, consumer._fetcher  # noqa: SLF001
        tasks: list[Any] = []
        if coordinator is not None:
            tasks += [coordinator._coordination_task, coordinator._heartbeat_task]  # noqa: SLF001
            tasks.append(coordinator._commit_refresh_task)  # noqa: SLF001
            # For commits that retry repeatedly.
            if not coordinator._closing.done():  # noqa: SLF001
                coordinator._closing.set_result(None)  # noqa: SLF001
        if fetcher is not None:
            fetcher._closed = True  # noqa: SLF001
            tasks += [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001
        waiting = [task for task in tasks if task is not None and not task.done()]
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=_LEAVE_S)
        if coordinator is not None:  # of others in the group, who need not wait until it is missed
            await _within(_LEAVE_S, coordinator._maybe_leave_group())  # noqa: SLF001
        await _within(_LEAVE_S, consumer._client.close())  # noqa: SLF001

    # ---- end

    async def on_thread_stop(self) -> None:
        """Closes the connections. Anything that takes too long is cancelled with the thread's other tasks."""
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()  # the queue of calls, and no more
        if self._consumer is None:
            return
        stopping = asyncio.ensure_future(self._consumer.stop())
        await asyncio.wait({stopping}, timeout=_STOP_S)
        if not stopping.done():
            log.warning("the consumer did not end within %.1f s: is Kafka away?", _STOP_S)
            stopping.cancel()
        elif not stopping.cancelled() and (err := stopping.exception()):
            log.warning("the consumer did not end well: %r", err)


def _size(records: Mapping[Any, Sequence[Any]]) -> tuple[int, int]:
    """Records, and the bytes of their values."""
    values = [record.value for found in records.values() for record in found]
    return len(values), sum(len(value) for value in values if value)


def _seen(result: "asyncio.Future[Any]") -> None:
    """At the end of the worker nobody may wait any more: asyncio would log the error as one that nobody has seen."""
    if not result.cancelled():
        result.exception()


async def _until(ended: "asyncio.Future[None]") -> None:
    await asyncio.wait([ended])


async def _within(seconds: float, work: Any) -> None:
    """Waits for `work` up to a limit, then abandons it."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and (err := task.exception()):
        log.debug("a former consumer: %r", err)
