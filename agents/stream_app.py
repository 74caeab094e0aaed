"""Faust as Stretto uses it: offsets are committed and resumed by what is in blocks, not by acknowledgements."""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import faust
import faust.app
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

log = logging.getLogger(__name__)

_CONSUMER_STOP_S = 1.5

# Where each of the assigned partitions is to be read from; those left out start at the committed offset.
Resume = Callable[[Iterable[TP]], Awaitable[Mapping[TP, int]]]


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types here
    """Ends also where Kafka is away: aiokafka then waits for its coordinator, or raises CancelledError of its own,
    and Faust waits for a thread that never says that it has ended.
    """

    async def on_thread_stop(self) -> None:
        """Ends the connections; what has not ended in time is cancelled with the thread's other tasks."""
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()  # the queue of calls, and no more
        if self._consumer is None:
            return
        stopping = asyncio.ensure_future(self._consumer.stop())
        await asyncio.wait({stopping}, timeout=_CONSUMER_STOP_S)
        if not stopping.done():
            log.warning("the consumer did not end within %.0f s: is Kafka away?", _CONSUMER_STOP_S)
            stopping.cancel()
        elif not stopping.cancelled() and (err := stopping.exception()):
            log.warning("the consumer did not end well: %r", err)


class Consumer(driver.Consumer):  # type: ignore[misc]  # Faust has no types here
    """Seeks to where the application's own state ends, and commits when told to.

    Faust rewinds every partition to its committed offset at every rebalance, and it commits by its own list of
    acknowledged messages, which skips gaps. Offsets here follow from the blocks in storage.
    """

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Faust calls this after every assignment, before records flow."""
        await super().perform_seek()
        resume = self.app.resume
        if resume is None:
            return
        for tp, offset in (await resume(self.assignment())).items():
            log.info("%s[%d] resumes at offset %d", tp.topic, tp.partition, offset)
            await self.seek(tp, offset)

    async def commit_through(self, offsets: Mapping[TP, int], notes: Mapping[TP, str] | None = None) -> bool:
        """Commits that everything below the offsets is done. False where it did not work: a later commit, or a replay
        that finds the blocks there, makes up for it.

        notes: a text that Kafka keeps with the offset, for `committed`
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
                    await self._thread._ensure_consumer().commit(mine)  # noqa: SLF001
            except KafkaError as err:
                log.warning("offsets were not committed, will be with the next block: %r", err)
                return False
            return True

        return bool(await self._thread.call_thread(commit))

    async def committed(self, tps: Iterable[TP]) -> dict[TP, tuple[int, str]]:
        """Offset and note of the last commit of each partition that has one."""
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in tps]

        async def fetch() -> dict[TP, tuple[int, str]]:
            coordinator = self._thread._ensure_consumer()._coordinator  # noqa: SLF001
            found = await coordinator.fetch_committed_offsets(wanted)
            return {TP(tp.topic, tp.partition): (one.offset, one.metadata or "") for tp, one in found.items()}

        return dict(await self._thread.call_thread(fetch))

    def member_id(self) -> str:
        """By which Kafka knows this worker in the consumer group; "" while it is in none."""
        consumer = self._thread._consumer  # noqa: SLF001
        return "" if consumer is None else str(getattr(consumer._coordinator, "member_id", ""))  # noqa: SLF001

    def end_offset(self, tp: TP) -> int | None:
        """Where the partition ends, as of the last records that came; None where none came yet."""
        consumer = self._thread._consumer  # noqa: SLF001
        wanted = TopicPartition(tp.topic, tp.partition)
        if consumer is None or wanted not in consumer.assignment():
            return None
        found = consumer.highwater(wanted)
        return None if found is None else int(found)

    async def offsets_at(self, times_ms: Mapping[TP, int]) -> dict[TP, int]:
        """The first offset of each partition whose record came at that time or later; left out where none did."""
        wanted = {TopicPartition(tp.topic, tp.partition): time_ms for tp, time_ms in times_ms.items()}

        async def fetch() -> dict[TP, int]:
            found = await self._thread._ensure_consumer().offsets_for_times(wanted)  # noqa: SLF001
            return {TP(tp.topic, tp.partition): one.offset for tp, one in found.items() if one is not None}

        return dict(await self._thread.call_thread(fetch)) if wanted else {}


class Transport(driver.Transport):  # type: ignore[misc]
    """Kafka with the consumer above."""

    Consumer = Consumer


class Boot(faust.app.BootStrategy):  # type: ignore[misc]
    """Without Faust's own web server, whatever the command line says: Stretto has its own."""

    enable_web = False


class StreamApp(faust.App):  # type: ignore[misc]
    """A Faust app with hooks for what must be done, and parts that must run, before it consumes."""

    BootStrategy = Boot

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resume: Resume | None = None
        self.before_start: list[Callable[[], Awaitable[None]]] = []
        self.parts: list[faust.Service] = []

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Faust makes its folder, but not the folders above it."""
        Path(self.conf.datadir).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once, before anything runs
        await super().on_first_start()

    async def on_start(self) -> None:
        """Runs the hooks, then what Faust does. Parts start before records flow and stop before they end."""
        for hook in self.before_start:
            await hook()
        await super().on_start()
        for part in self.parts:
            await self.add_runtime_dependency(part)


def _instance_id(datadir: Path) -> str:
    """Names this worker for good: its host and its folder."""
    place = f"{socket.gethostname()}:{datadir.absolute()}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()


def new_app(
    name: str,
    *,
    broker: Iterable[str],
    datadir: Path,
    session_timeout_s: float,
    message_bytes_max: int,
    keeps_partitions: bool,
    buffer_records_max: int = 32,
) -> StreamApp:
    """A Faust app: one consumer group. Figures and reasons are in docs/adr/0002-faust.md.

    keeps_partitions: a worker that was killed and is started again with the same data folder takes up its partitions
    at once, not after the session timeout; one that stops for good leaves them alone for so long. For workers that
    have their data folder to themselves.
    """
    return StreamApp(
        name,
        broker=[f"kafka://{address}" for address in broker],
        store="memory://",
        datadir=str(datadir),
        web_enabled=False,
        autodiscover=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        # A stop must not wait for records that are committed with their block, minutes later.
        stream_wait_empty=False,
        consumer_group_instance_id=f"{name}-{_instance_id(datadir)}" if keeps_partitions else None,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=max(1.0, session_timeout_s / 6),
        broker_rebalance_timeout=max(10.0, session_timeout_s),
        broker_commit_interval=1.0,
        # Kafka away for minutes is not a live lock.
        broker_commit_livelock_soft_timeout=86_400.0,
        consumer_auto_offset_reset="earliest",
        # Records are large: a few dozen are tens of megabytes.
        stream_buffer_maxsize=buffer_records_max,
        broker_max_poll_records=buffer_records_max,
        consumer_max_fetch_size=message_bytes_max,
        producer_max_request_size=message_bytes_max,
        producer_acks=-1,
    )
