"""Cuts of the live store → blocks in object storage, then the commit of their offsets."""

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

from faust.types import TP
from prometheus_client import Counter, Gauge

from agents.live_store.agent import PartitionManager, log_failure
from agents.stream.stream_app import StreamApp
from tables.errors import StorageError
from tables.live.partition import FlushJob, LivePartition
from tables.live.segment_table import SegmentInfo
from tables.live.store import FlushResult
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)

CONFLICTS = Counter("stretto_block_cut_conflicts_total", "Cuts that another worker had made elsewhere.")
COPIES = Gauge("stretto_live_store_local_copy_bytes", "Bytes of segments that are in blocks and still here.")
FAILURES = Counter("stretto_block_flush_failures_total", "Flushes that did not work and are tried again.")

_RETRY_S_MAX = 30.0
_TRIM_S = 5.0


class Flush(NamedTuple):
    """Work for the agent."""

    state: LivePartition
    job: FlushJob


class _Flushed(NamedTuple):
    """Segments that are in blocks. at_s: since when, by the loop's clock."""

    at_s: float
    infos: list[SegmentInfo]

    @property
    def size_bytes(self) -> int:
        return sum(info.size_bytes for info in self.infos)


class BlockFlusher:
    """One flush after the other: when storage is away, all wait, while the live store goes on.

    retention_s: so long segments stay after they became a block, for readers that began before
    copy_bytes_max: so much of them stays beyond that, the youngest, and is read instead of the blocks
    """

    def __init__(
        self, app: StreamApp, manager: PartitionManager, executor: Executor, retention_s: float, copy_bytes_max: int
    ) -> None:
        self._app, self._manager = app, manager
        self._executor, self._retention_s, self._copy_bytes_max = executor, retention_s, copy_bytes_max
        self._flushed: deque[_Flushed] = deque()

    async def flush(self, flush: Flush) -> None:
        """Writes the blocks and makes them visible, commits the offsets."""
        store = self._manager.store
        if store is None or flush.state.closed:
            return
        state, job = flush
        work = functools.partial(store.flush, state.partition, job, state.to_flush(job))
        result = await self._written(state, work)
        if result is None:
            return
        if not result.ours:
            CONFLICTS.inc()
            log.warning(
                "partition %d was cut at %d-%d by another worker, here at %d-%d: starting over behind it",
                state.partition,
                result.cut.first_offset,
                result.cut.last_offset,
                job.first_offset,
                job.last_offset,
            )
            await self._manager.reopen(state.partition)
            return
        if state.closed:
            return  # the cut holds; whoever has the partition now has found it in storage
        done = store.flushed(state, job, result)
        spans = sum(meta.spans for meta in result.blocks)
        log.info("partition %d: offsets %d-%d, %d spans in blocks", state.partition, *_range(job), spans)
        await self._app.consumer.commit_through({TP(self._manager.topic, state.partition): job.last_offset + 1})
        self._flushed.append(_Flushed(asyncio.get_running_loop().time(), done))

    async def _written(self, state: LivePartition, work: Callable[[], FlushResult]) -> FlushResult | None:
        """Tries until it works; None if the partition has gone meanwhile."""
        wait_s = 0.5
        while not state.closed:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, walled, work)
            except Exception as err:  # noqa: BLE001  # a flush that is lost would leave a hole in what is covered
                FAILURES.inc()
                log_failure(log, "blocks wait", wait_s, err)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S_MAX)
        return None

    async def trim(self) -> None:
        """Every few seconds: deletes segments that are in blocks long enough. The next start deletes the others."""
        store, now_s = self._manager.store, asyncio.get_running_loop().time()
        held_bytes = sum(one.size_bytes for one in self._flushed)
        COPIES.set(held_bytes)
        gone: list[SegmentInfo] = []
        while self._flushed and self._flushed[0].at_s + self._retention_s < now_s and held_bytes > self._copy_bytes_max:
            held_bytes -= self._flushed[0].size_bytes
            gone += self._flushed.popleft().infos
        if not gone or store is None or self._manager.closing.is_set():
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, walled, store.delete, gone)
        except (StorageError, OSError, NativePanic) as err:
            log.warning("flushed segments stay until the next start: %s", err)


def _range(job: FlushJob) -> tuple[int, int]:
    return job.first_offset, job.last_offset


def register(app: StreamApp, manager: PartitionManager, flusher: BlockFlusher) -> None:
    """Adds the task that writes blocks, one after the other, and the timer.

    No agent with a channel: Faust empties the queues of all agents at every rebalance, and a job that is lost is a hole
    in what is covered.
    """
    jobs: asyncio.Queue[Flush] = asyncio.Queue()  # few: bounded by the spans that wait to be sealed

    async def enqueue(state: LivePartition, job: FlushJob) -> None:
        jobs.put_nowait(Flush(state, job))

    manager.flush = enqueue

    @app.task
    async def flush_blocks() -> None:
        while True:
            flush = await jobs.get()
            try:
                await flusher.flush(flush)
            except Exception:
                FAILURES.inc()
                log.exception("partition %d: the end of a flush failed", flush.state.partition)

    @app.timer(_TRIM_S, name="block_flusher_trim")
    async def trim() -> None:
        await flusher.trim()
