"""Faust's consumer, adapted: it commits and resumes by what is in blocks, and no error stops it."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Generator, Iterable, Mapping
from typing import Any

from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.services import WaitResults

from agents.stream.consumer_thread import ERRORS, ConsumerThread

log = logging.getLogger(__name__)

_SEEK_AGAIN_S = 0.5
_SEEK_SPARE_S = 3.0
_REBUILD_S = 12.0
# aiokafka would retry for ever; the caller has other work.
_COMMIT_S = 10.0
# An answer that is lost is lost for good: aiokafka would wait for it as long as Faust lets resuming take in all.
_ASK_S = 10.0


class _Begun:
    """What is left of a coroutine that waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._coroutine, self._waits_for = coroutine, waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        """As `yield from`, which would begin it."""
        waits_for = self._waits_for
        while True:
            try:
                try:
                    sent = yield waits_for
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except BaseException as err:  # noqa: BLE001  # it is for the coroutine
                    waits_for = self._coroutine.throw(err)
                else:
                    waits_for = self._coroutine.send(sent)
            except StopIteration as end:
                return end.value


class Consumer(driver.Consumer):  # type: ignore[misc]  # Faust has no types here
    """Seeks to the end of the application's own state, and commits only on request.

    Faust seeks to the committed offset of every partition at every rebalance, and commits by its list of acknowledged
    messages, which skips gaps. Here offsets follow from the blocks in storage.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._take: Any = self.callback
        self.callback: Any = self._take_if_ours

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109  # Faust's signature
        """Faust calls it for each record: with what hands the record over, and with what ends that when partitions go.
        That takes four tasks, and so two or three turns of the event loop a record: on a busy loop, with turns of 20
        ms, a consumer that reads 20 records a second. Mostly the agent has room for the record, and nothing waits.
        """
        handing_over, *others = coros
        if asyncio.iscoroutine(handing_over) and not self.should_stop and not self.suspend_flow.is_set():
            try:
                waits_for = handing_over.send(None)
            except BaseException as err:
                for other in others:
                    if asyncio.iscoroutine(other):
                        other.close()
                if isinstance(err, StopIteration):
                    return WaitResults([handing_over], [err.value], stopped=False)
                raise
            handing_over = _Begun(handing_over, waits_for)
        return await super().wait_first(handing_over, *others, timeout=timeout)

    # ---- what would stop it

    async def _take_if_ours(self, message: Any) -> None:
        try:
            await self._take(message)
        except KeyError:
            # Faust has no agent for a partition that was revoked while its records were in flight.
            if message.tp in self.assignment():
                raise

    async def _drain_messages(self, fetcher: Any) -> None:
        """Passes records to the agents, for ever. Faust would end the worker at the first error."""
        while not (self.should_stop or fetcher.should_stop):
            try:
                await super()._drain_messages(fetcher)
            except ConsumerStoppedError as err:
                log.debug("%s: %r", self.app.conf.name, err)
            except Exception as err:  # noqa: BLE001  # as the docstring says
                ERRORS.labels(self.app.conf.name, type(err).__name__).inc()
                # A record may have been lost on its way: only a new assignment reads it again.
                self._thread.failure = f"records could not be handed over: {err!r}"
            # When the app stops, Faust's version also returns although it was cancelled. The end need not wait then.
            if self.app.should_stop:
                return
            await asyncio.sleep(_SEEK_AGAIN_S)

    def highwater(self, tp: TP) -> int:
        """Only for Faust's own statistics: 0 if the partition was just revoked."""
        return self.end_offset(tp) or 0

    async def verify_all_partitions_active(self) -> None:
        """Does nothing: the watchdog does this (agents/stream/consumer_watchdog.py). Faust's version fails without an
        assignment.
        """

    async def perform_seek(self) -> None:
        """Seeks; Faust calls this after every assignment, before the first record.

        Raises: IllegalStateError, and Faust calls again after the next assignment
        """
        # If it takes longer, Faust silently stops resuming, also at later assignments.
        within_s = self.app.conf.broker_request_timeout - _SEEK_SPARE_S
        try:
            async with asyncio.timeout(within_s):
                await self._perform_seek()
        except TimeoutError:
            self._thread.failure = f"where to read on was not known within {within_s:.0f} s"
            raise IllegalStateError(self._thread.failure) from None

    async def _perform_seek(self) -> None:
        generation = self.app.consumer_generation_id
        if not self.assignment():
            raise IllegalStateError("nothing is assigned")
        while True:
            try:
                await self._asked("where each partition was left off", super().perform_seek())
                await self._resume()
            except IllegalStateError:
                raise
            except Exception as err:  # Faust would end the worker
                ERRORS.labels(self.app.conf.name, type(err).__name__).inc()
                log.warning("%s: cannot resume yet: %r", self.app.conf.name, err)
                await asyncio.sleep(_SEEK_AGAIN_S)
                if generation != self.app.consumer_generation_id or self.should_stop:
                    raise IllegalStateError("another assignment has come") from err
            else:
                return

    async def _asked(self, what: str, answer: Awaitable[Any]) -> Any:
        """The answer of Kafka. Raises: IllegalStateError: none in time; the watchdog then makes a new consumer"""
        try:
            async with asyncio.timeout(_ASK_S):
                return await answer
        except TimeoutError:
            self._thread.failure = f"Kafka did not say {what} within {_ASK_S:.0f} s"
            raise IllegalStateError(self._thread.failure) from None

    async def _resume(self) -> None:
        for tp, offset in (await self.app.partition_owner.resume(self.assignment())).items():
            log.info("%s[%d] resumes at offset %d", tp.topic, tp.partition, offset)
            await self.seek(tp, offset)

    async def _seek(self, partition: TP, offset: int) -> None:
        try:
            await super()._seek(partition, offset)
        except (IllegalStateError, AssertionError):
            log.info("%s[%d] has gone before offset %d was sought", partition.topic, partition.partition, offset)

    async def leave_group(self) -> None:
        """Lets the others of the group have the partitions, and goes on reading them.

        Raises: KafkaError, OSError, TimeoutError: Kafka did not take it; the others find out after the session timeout
        """
        await self._thread.call_thread(self._thread.leave_group)

    async def rebuild(self) -> None:
        """Replaces the consumer by a new one, which joins the group, whatever state the former one is in.

        Raises: KafkaError, OSError, TimeoutError; the former consumer then stays
        """
        thread = self._thread
        async with asyncio.timeout(_REBUILD_S):
            consumer = await thread.call_thread(thread.connected)
            # As Faust does where partitions are revoked; of the new consumer it knows none that it could revoke.
            self.stop_flow()
            self.app.flow_control.suspend()
            self.pause_partitions(self.assignment())
            self.app.flow_control.clear()
            await thread.call_thread(thread.replace, consumer)

    # ---- how it is

    @property
    def failure(self) -> str:
        """Why the consumer cannot continue by itself; "" if it can."""
        return str(self._thread.failure)

    @property
    def beat_s(self) -> float:
        """When the thread last ran, as time.monotonic()."""
        return float(self._thread.beat_s)

    @property
    def thread_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the thread that Kafka is read on."""
        loop: asyncio.AbstractEventLoop = self._thread.thread_loop
        return loop

    @property
    def connected(self) -> bool:
        """Whether it has reached Kafka since the start of the process."""
        return self._thread._consumer is not None  # noqa: SLF001

    @property
    def has_left(self) -> bool:
        """Whether it has left its group for good, and reads on without it."""
        return bool(self._thread.has_left)

    @property
    def subscribed(self) -> bool:
        """Whether the consumer should be in its group by now."""
        return bool(self._thread.topics) and self.connected

    @property
    def topics(self) -> frozenset[str]:
        """The topics that it has subscribed to."""
        return frozenset(self._thread.topics)

    # ---- offsets

    async def commit_through(self, offsets: Mapping[TP, int], notes: Mapping[TP, str] | None = None) -> bool:
        """Commits that everything below the offsets is done. False: the commit failed. A later commit, or a replay that
        finds the blocks, makes up for it.

        notes: metadata that Kafka stores with the offset; see `committed`
        """

        async def commit() -> bool:
            assigned = self._thread.assignment()
            mine = {
                TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, (notes or {}).get(tp, ""))
                for tp, offset in offsets.items()
                if tp in assigned
            }
            try:
                if mine:
                    async with asyncio.timeout(_COMMIT_S):
                        await self._thread._ensure_consumer().commit(mine)  # noqa: SLF001
            except (KafkaError, OSError, TimeoutError, LookupError) as err:
                log.warning("offsets were not committed, will be with the next block: %r", err)
                return False
            return True

        try:
            return bool(await self._thread.call_thread(commit))
        except IllegalStateError as err:
            log.warning("offsets were not committed, will be with the next block: %r", err)
            return False

    async def committed(self, tps: Iterable[TP]) -> dict[TP, tuple[int, str]]:
        """Offset and metadata of the last commit of each partition that has one."""
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in tps]

        async def fetch() -> dict[TP, tuple[int, str]]:
            coordinator = self._thread._ensure_consumer()._coordinator  # noqa: SLF001
            found = await coordinator.fetch_committed_offsets(wanted)
            return {TP(tp.topic, tp.partition): (one.offset, one.metadata or "") for tp, one in found.items()}

        return dict(await self._asked("what was committed", self._thread.call_thread(fetch)))

    def member_id(self) -> str:
        """The id of this worker in the consumer group; "" while it is in none."""
        consumer = self._thread._consumer  # noqa: SLF001
        return "" if consumer is None else str(getattr(consumer._coordinator, "member_id", ""))  # noqa: SLF001

    def end_offset(self, tp: TP) -> int | None:
        """The end of the partition as of the last fetch; None before the first."""
        consumer = self._thread._consumer  # noqa: SLF001
        wanted = TopicPartition(tp.topic, tp.partition)
        if consumer is None or wanted not in consumer.assignment():
            return None
        found = consumer.highwater(wanted)
        return None if found is None else int(found)

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        """Where each of the partitions ends. Raises: IllegalStateError: Kafka did not say in time"""
        return dict(await self._asked("where each partition ends", super().highwaters(*partitions)))

    async def offsets_at(self, times_ms: Mapping[TP, int]) -> dict[TP, int]:
        """The offset of each partition's first record at that time or later; partitions without one are left out."""
        wanted = {TopicPartition(tp.topic, tp.partition): time_ms for tp, time_ms in times_ms.items()}

        async def fetch() -> dict[TP, int]:
            found = await self._thread._ensure_consumer().offsets_for_times(wanted)  # noqa: SLF001
            return {TP(tp.topic, tp.partition): one.offset for tp, one in found.items() if one is not None}

        if not wanted:
            return {}
        return dict(await self._asked("which offset belongs to a time", self._thread.call_thread(fetch)))
