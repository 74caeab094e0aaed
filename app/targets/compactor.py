"""TARGET=compactor: merges blocks, and deletes what is too old. Any number of processes; one of them plans."""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import faust

from agents.compactor import agent
from agents.compactor.agent import JobRunner
from agents.compactor.audit import Audit
from agents.compactor.checkpointer import Checkpointer
from agents.compactor.executor import MergeExecutor, run_job
from agents.compactor.filter_packer import FilterPacker
from agents.compactor.iceberg_updates import IcebergUpdates
from agents.compactor.job import MERGE
from agents.compactor.job_topic import JobSender
from agents.compactor.leader import Chores, Leader, LeaderLimits, TenantRules
from agents.compactor.leader_loop import LeaderLoop
from agents.compactor.redaction_chore import RedactionChore
from agents.compactor.upkeep import Upkeep
from agents.live_store.partition_manager import PartitionManager
from agents.stream.stream_app import StreamApp
from app.errors import SettingsError
from app.process.iceberg import iceberg_config
from app.process.overrides import OverridesFile
from app.process.storage import storage_config
from app.process.storage_probe import probe_storage
from app.querying.running.query_threads import lower_priority
from app.settings import Settings
from app.targets.kafka_state import cluster_and_partitions
from app.targets.shared import Shared, Target, stream_app
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.catalog.index_store import IndexStore
from tables.catalog.redactor import Redactor
from tables.iceberg.sync import IcebergTables
from tables.merge.merge_blocks import merge_blocks
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore
from tables.storage.probe import StorageProbe

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.2
_FILTER_READS: Final = 8
_PROBE_AGAIN_S: Final = 5.0
# Blocks of a window are flushed after its end: as late as a segment waits for its block, and the block for storage.
_SETTLE_BLOCKS: Final = 2


class CompactorOpener(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Opens the storage, and begins. In a process with a live store it uses what that knows of the storage."""

    def __init__(
        self,
        settings: Settings,
        shared: Shared,
        app: StreamApp,
        runner: JobRunner,
        live: PartitionManager | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings, self._shared, self._app, self._runner, self._live = settings, shared, app, runner, live
        self._ending = threading.Event()
        self._iceberg: IcebergUpdates | None = None
        self._planning = ThreadPoolExecutor(1, "plan-merges", partial(lower_priority, settings.compactor.niceness))

    @faust.Service.task
    async def _open(self) -> None:
        settings, kafka = self._settings, self._settings.kafka
        client = self._shared.kafka
        cluster_id, partitions = await cluster_and_partitions(client, kafka.topic)
        _, job_partitions = await cluster_and_partitions(client, kafka.compaction_topic)
        blocks = await self._block_list(cluster_id)
        if blocks is None:
            return
        indexes = IndexStore(blocks.store)
        folder = settings.own_dir / "merge"
        await asyncio.to_thread(_make_empty, folder)
        merge = partial(
            merge_blocks,
            blocks.store,
            attribute_columns_max=settings.storage.trace.block.attribute_columns_max,
            folder=folder,
            is_cancelled=self._ending.is_set,
        )
        executor = MergeExecutor(blocks, indexes, merge, range(partitions))
        self._runner.begin(partial(run_job, {MERGE: executor.run}))
        self._iceberg = iceberg_updates(settings, blocks.store)
        leader = self._leader(blocks, indexes, partitions)
        sender = JobSender(client, kafka.compaction_topic, job_partitions)
        cycle_s = settings.compactor.compaction.compaction_cycle
        await self.add_runtime_dependency(LeaderLoop(self._app, leader, sender, self._planning, cycle_s))

    async def on_stop(self) -> None:
        """A merge that runs ends with its next file, and is done again by whoever takes the job next."""
        self._runner.end()
        self._ending.set()
        if self._iceberg is not None:
            self._iceberg.end()

    async def _block_list(self, cluster_id: str) -> BlockList | None:
        """None: the process ends before its live store is open."""
        if self._live is None:
            config = storage_config(self._settings.storage.trace)
            storage_probe = StorageProbe(config)
            while not await probe_storage(storage_probe, self._planning):
                await self.sleep(_PROBE_AGAIN_S)
            store = ObjectStore(config)
            # Merges read each column once.
            return BlockList(store, cluster_id, ByteCache("columns", 1))
        while self._live.store is None and not self.should_stop:
            await self.sleep(_LOOK_S)
        return None if self._live.store is None else self._live.store.blocks

    def _leader(self, blocks: BlockList, indexes: IndexStore, partitions: int) -> Leader:
        settings = self._settings
        compactor, merging = settings.compactor, settings.compactor.compaction
        grace_s, dry_run = merging.compacted_block_retention, merging.dry_run
        chores = Chores(
            Upkeep(blocks, indexes, grace_s, compactor.checkpoint_interval, time.time, dry_run=dry_run),
            Checkpointer(blocks, compactor.checkpoint_interval, grace_s, time.time, dry_run=dry_run),
            Audit(blocks, compactor.audit_interval, compactor.orphan_age, time.time, dry_run=dry_run),
            RedactionChore(blocks, self._redactor(blocks, indexes, partitions), time.time, dry_run=dry_run).run,
            FilterPacker(blocks, indexes, grace_s, time.time, dry_run=dry_run).run,
        )
        limits = LeaderLimits(
            partitions=range(partitions),
            settle_s=_SETTLE_BLOCKS * settings.live_store.block_age_s,
            block_bytes_max=merging.max_block_bytes,
            inputs_min=merging.input_blocks_min,
            inputs_max=merging.input_blocks_max,
            jobs_max=compactor.jobs_queued_max,
            # In one process the live store polls for both.
            poll_age_s=0.0 if self._live is None else settings.storage.trace.blocklist_poll_s,
        )
        rules = rules_of(settings, self._shared.overrides)
        if self._iceberg is None:
            return Leader(blocks, chores, rules, limits, time.time)
        return Leader(blocks, chores, rules, limits, time.time, self._iceberg.show)

    def _redactor(self, blocks: BlockList, indexes: IndexStore, partitions: int) -> Redactor:
        settings = self._settings.query
        pool = ThreadPoolExecutor(_FILTER_READS, "filters")
        filters = TraceFilters(pool, ByteCache("bloom", settings.bloom_cache_bytes_max))
        return Redactor(blocks, indexes, filters, range(partitions))


def iceberg_updates(settings: Settings, store: ObjectStore) -> IcebergUpdates | None:
    """The updates of Iceberg tables; None if the settings do not want any."""
    config = iceberg_config(settings, store.config, settings.compactor.compaction.compacted_block_retention)
    return None if config is None else IcebergUpdates(lambda: IcebergTables(store, config))


def _make_empty(folder: Path) -> None:
    """Makes the folder, without what a merge has left that was killed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def rules_of(settings: Settings, overrides: OverridesFile) -> Callable[[str], TenantRules]:
    """What holds for a tenant: its entry in the file of overrides, over the defaults, over the settings."""
    merging = settings.compactor.compaction

    def of(tenant: str) -> TenantRules:
        entry = overrides.of(tenant).compaction
        return TenantRules(
            retention_s=entry.block_retention or merging.block_retention,
            window_s=entry.compaction_window or merging.compaction_window,
            merges=not entry.compaction_disabled,
        )

    return of


def build(settings: Settings, shared: Shared, live: PartitionManager | None = None) -> Target:
    """The compactor. live: of the live store in the same process"""
    if settings.compactor.disabled:
        raise SettingsError("target compactor needs compactor.disabled to be false")
    if settings.storage.iceberg.enabled and find_spec("pyiceberg") is None:
        raise SettingsError("storage.iceberg.enabled needs pyiceberg: install stretto with its extra `iceberg`")
    compactor = settings.compactor
    app = stream_app(settings, shared, "compactor")
    merging = ThreadPoolExecutor(compactor.merges_max, "merge", partial(lower_priority, compactor.niceness))
    runner = JobRunner(app, merging, compactor.merges_max)
    agent.register(app, settings.kafka.compaction_topic, runner)
    app.parts.append(CompactorOpener(settings, shared, app, runner, live))
    return Target(apps={"compactor": app})
