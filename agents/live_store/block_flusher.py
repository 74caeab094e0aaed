"""Cuts of the live store → blocks in object storage, then commits of their offsets."""

import asyncio
import functools
import logging
import time
from collections import Counter as Counting
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

from faust.types import TP
from prometheus_client import Counter, Gauge

from agents import tracing
from agents.live_store import own_metrics
from agents.live_store.flush_queue import Flush, FlushQueue
from agents.live_store.partition_manager import PartitionManager
from agents.stream.retry import GaveUp, log_failure, retried
from agents.stream.stream_app import StreamApp
from tables.errors import StorageError
from tables.live.partition import LivePartition
from tables.live.partition_jobs import FlushJob
from tables.live.segment_table import SegmentInfo
from tables.live.store import FlushResult, LiveStore
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)

CONFLICTS = Counter(
    "stretto_block_cut_conflicts_total",
    "Cuts that failed because another worker had already cut at a different offset.",
)
COPIES = Gauge("stretto_live_store_local_copy_bytes", "Bytes of local segments that are already in blocks.")
FAILURES = Counter("stretto_block_flush_failures_total", "Failed flushes; they are retried.")

_TRIM_S = 5.0


class _Flushed(NamedTuple):
    """Segments that are in blocks. at_s: since when, by the loop's clock"""

    at_s: float
    infos: list[SegmentInfo]

    @property
    def size_bytes(self) -> int:
        return sum(info.size_bytes for info in self.infos)


class BlockFlusher:
    """Runs one flush after the other. While storage is away all flushes wait, and the live store goes on.

    retention_s: how long segments stay after their block is written, for readers that began before
    copy_bytes_max: how many bytes of the youngest segments stay longer; readers use them instead of the blocks
    """

    def __init__(
        self, app: StreamApp, manager: PartitionManager, executor: Executor, retention_s: float, copy_bytes_max: int
    ) -> None:
        self._app, self._manager = app, manager
        self._executor, self._retention_s, self._copy_bytes_max = executor, retention_s, copy_bytes_max
        self._flushed: deque[_Flushed] = deque()

    async def flush(self, flush: Flush) -> None:
        """Writes the blocks, makes them visible, and commits the offsets."""
        store = self._manager.store
        if store is None or flush.state.closed:
            return
        state, job = flush
        segments, start_s = state.to_flush(job), time.perf_counter()
        work = functools.partial(store.flush, state.partition, job, segments)
        spans: Counting[str] = Counting()
        for info in segments:
            spans[info.tenant] += info.spans
        about = {"partition": state.partition, "spans": spans.total(), "tenants": len(spans), "segments": len(segments)}
        with tracing.background("flush blocks", about, spans):
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
            await self._manager.reopen(state)
            return
        if state.closed:
            return  # the cut holds; whoever has the partition now has found it in storage
        done = store.flushed(state, job, result)
        own_metrics.FLUSH_SECONDS.observe(time.perf_counter() - start_s)
        own_metrics.FLUSHED.inc(len(result.blocks))
        for meta in result.blocks:
            own_metrics.FLUSH_BYTES.observe(meta.size_bytes)
        in_blocks = sum(meta.spans for meta in result.blocks)
        log.info("partition %d: offsets %d-%d, %d spans in blocks", state.partition, *_range(job), in_blocks)
        await self._app.consumer.commit_through({TP(self._manager.topic, state.partition): job.last_offset + 1})
        self._flushed.append(_Flushed(asyncio.get_running_loop().time(), done))

    def _redacted(self, store: LiveStore, now_s: float) -> list[SegmentInfo]:
        """Takes out the segments of tenants with redactions in force: local copies may have what is to be removed."""
        gone = []
        for one in self._flushed:
            if one.at_s + self._retention_s < now_s:
                some = [info for info in one.infos if store.blocks.redactions(info.tenant)]
                gone += some
                one.infos[:] = [info for info in one.infos if info not in some]
        return gone

    async def _written(self, state: LivePartition, work: Callable[[], FlushResult]) -> FlushResult | None:
        """Retries until the flush succeeds; None if the partition was revoked meanwhile."""

        def on_failure(err: Exception, wait_s: float) -> None:
            FAILURES.inc()
            own_metrics.FLUSHES_FAILED.inc()
            log_failure(log, "blocks wait", wait_s, err)

        try:
            return await retried(self._executor, work, on_failure, lambda: state.closed)
        except GaveUp:
            return None

    async def reopen_overtaken(self) -> None:
        """Every few seconds: opens partitions again whose former owner has written a cut after it lost them."""
        store = self._manager.store
        if store is None or self._manager.closing.is_set():
            return
        for state in store.overtaken():
            number = state.partition
            CONFLICTS.inc()
            log.warning("partition %d was cut by another worker at %d", number, store.blocks.flushed_offset(number))
            await self._manager.reopen(state)

    async def trim(self) -> None:
        """Every few seconds: deletes segments that have been in blocks long enough. The next start deletes
        leftovers.
        """
        store, now_s = self._manager.store, asyncio.get_running_loop().time()
        held_bytes = sum(one.size_bytes for one in self._flushed)
        COPIES.set(held_bytes)
        if store is not None:
            # Before they are deleted: queries that have begun with them go on.
            old_s = now_s - self._retention_s / 2
            store.retire(info for one in self._flushed if one.at_s < old_s for info in one.infos)
        gone = [] if store is None else self._redacted(store, now_s)
        while self._flushed and self._flushed[0].at_s + self._retention_s < now_s and held_bytes > self._copy_bytes_max:
            held_bytes -= self._flushed[0].size_bytes
            gone += self._flushed.popleft().infos
        if not gone or store is None or self._manager.closing.is_set():
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, walled, store.delete, gone)
            own_metrics.CLEARED.labels("complete").inc(len(gone))
        except (StorageError, OSError, NativePanic) as err:
            log.warning("flushed segments stay until the next start: %s", err)


def _range(job: FlushJob) -> tuple[int, int]:
    return job.first_offset, job.last_offset


def register(app: StreamApp, flushes: FlushQueue, flusher: BlockFlusher) -> None:
    """Adds the task that writes blocks, one after the other, and the timer.

    This is not an agent with a channel: Faust empties the queues of all agents at every rebalance, and a lost flush
    would leave a gap in the cuts.
    """

    @app.task
    async def flush_blocks() -> None:
        while True:
            flush = await flushes.get()
            try:
                await flusher.flush(flush)
            except Exception:
                FAILURES.inc()
                log.exception("partition %d: the end of a flush failed", flush.state.partition)

    @app.timer(_TRIM_S, name="block_flusher_trim")
    async def trim() -> None:
        await flusher.reopen_overtaken()
        await flusher.trim()
