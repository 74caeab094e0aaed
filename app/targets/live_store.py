"""TARGET=live-store: keeps recent spans.

Probes the storage and opens the live store when the worker starts, watches the storage while it runs, seals when it
stops.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import faust

from agents.live_store import agent, block_flusher
from agents.live_store.block_flusher import BlockFlusher
from agents.live_store.flush_queue import FlushQueue
from agents.live_store.hand_over import HandOver
from agents.live_store.limits import LiveLimits
from agents.live_store.partition_manager import PartitionManager
from agents.stream.stream_app import StreamApp
from app.process.caches import range_cache
from app.process.storage import storage_config
from app.process.storage_probe import probe_storage
from app.settings import Settings
from app.targets.kafka_state import cluster_and_partitions
from app.targets.shared import Shared, Target, stream_app
from tables.catalog.block_list import BlockList
from tables.errors import StorageError
from tables.live.partition import CutPolicy
from tables.live.segment_bytes import SegmentBytes
from tables.live.segment_table import SegmentTable
from tables.live.store import LiveStore
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore
from tables.storage.probe import StorageProbe
from tables.storage.range_cache import RangeCache
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)

_SEAL_AT_STOP_S = 2.0


class LiveOpener(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One for a process that has a live store."""

    def __init__(
        self, settings: Settings, shared: Shared, app: StreamApp, manager: PartitionManager, **kwargs: Any
    ) -> None:
        """Raises: SettingsError if what the settings of the storage rely on is missing."""
        super().__init__(**kwargs)
        self._storage = storage_config(settings.storage.trace)
        self._settings, self._kafka, self._manager = settings, shared.kafka, manager
        self._table = SegmentTable(app, settings.own_dir / "live")
        self._executor = ThreadPoolExecutor(1, "blocklist")
        self._ranges: RangeCache | None = None

    async def on_start(self) -> None:
        """Opens the store, before any partition is assigned."""
        settings = self._settings
        cluster_id, partitions = await cluster_and_partitions(self._kafka, settings.kafka.topic)
        await self.add_runtime_dependency(self._table)
        storage_probe = StorageProbe(self._storage)
        self._manager.check_storage = storage_probe.run  # partitions wait for a storage that is away
        await probe_storage(storage_probe, self._executor)
        live = settings.live_store
        policy = CutPolicy(
            partitions=partitions,
            segment_rows_max=live.segment_rows_max,
            segment_age_ms=round(live.segment_age_s * 1000),
            block_rows_max=live.block_rows_max,
            block_age_ms=round(live.block_age_s * 1000),
            attribute_columns_max=settings.storage.trace.block.attribute_columns_max,
            head_reuse_s=live.head_reuse_ms / 1000,
        )
        columns: ByteCache[Any, Any] = ByteCache("columns", settings.query.column_cache_bytes_max)
        store = ObjectStore(self._storage)
        segments = self._table.open(cluster_id)
        data = SegmentBytes(segments, live.segment_cache_bytes_max)
        self._ranges = range_cache(settings, store)
        small_files = settings.query.small_file_cache_bytes_max
        blocks = BlockList(
            store,
            cluster_id,
            columns,
            data.block_file,
            small_files,
            self._ranges,
            remake=data.remade_block_file,
        )
        self._manager.store = LiveStore(segments, blocks, policy, data, columns)

    @faust.Service.task
    async def _poll_blocks(self) -> None:
        """Blocks of others: compactors, other live stores. At once: partitions that are opened read only their own
        cuts.
        """
        every_s = self._settings.storage.trace.blocklist_poll_s
        await self._repeat(every_s, lambda s: s.blocks.poll(range(self._manager.partition_count)), at_once=True)

    @faust.Service.task
    async def _audit_blocks(self) -> None:
        """Whether files have vanished that no query has needed yet."""
        await self._repeat(self._settings.storage.trace.blocklist_audit_s, lambda s: s.blocks.audit())

    async def _repeat(self, every_s: float, work: Callable[[LiveStore], object], *, at_once: bool = False) -> None:
        while not self.should_stop:
            if not at_once:
                await self.sleep(every_s)
            at_once = False
            store = self._manager.store
            if store is None or self.should_stop:
                continue
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, walled, partial(work, store))
            except (StorageError, OSError, NativePanic) as err:
                log.warning("the list of blocks is as it was: %s", err)

    async def on_stop(self) -> None:
        """Seals what is in the heads, so that a restart reads less again."""
        try:
            async with asyncio.timeout(_SEAL_AT_STOP_S):
                await self._manager.seal_all()
        except TimeoutError:
            log.warning("heads were not sealed in time; they are read again from Kafka")
        if self._ranges is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._ranges.close)


def hand_over(settings: Settings, shared: Shared, app: StreamApp, manager: PartitionManager) -> HandOver:
    """What the live store does when it is told to stop."""
    own_id, zone = shared.internal.member_id, settings.members.zone
    return HandOver(app, manager, shared.members, own_id, zone, settings.live_store.hand_over_timeout)


def build(settings: Settings, shared: Shared) -> Target:
    """The live store; `app.targets.queries` has what answers queries about it."""
    app, live = stream_app(settings, shared, "live-store"), settings.live_store
    # One thread seals (it is the data path's work off the loop); another waits for storage.
    sealing, flushing = ThreadPoolExecutor(1, "seal"), ThreadPoolExecutor(1, "flush")
    limits = LiveLimits(
        live.pending_rows_max,
        live.head_bytes_max,
        live.segment_bytes_max,
        settings.kafka.lag_s_max,
        settings.kafka.retention_s,
    )
    flushes: FlushQueue = asyncio.Queue()
    manager = PartitionManager(
        app, settings.kafka.topic, sealing, limits, flushes, shared.consumers, settings.members.zone
    )
    agent.register(app, manager)
    # What is on this machine anyway needs no second copy.
    copies = settings.storage.trace.backend != "local" or "local_copy_bytes_max" in live.model_fields_set
    copy_bytes_max = live.local_copy_bytes_max if copies else 0
    flusher = BlockFlusher(app, manager, flushing, live.flushed_retention_s, copy_bytes_max)
    block_flusher.register(app, flushes, flusher)
    app.parts.append(LiveOpener(settings, shared, app, manager))
    return Target(apps={"live-store": app}, live=manager)
