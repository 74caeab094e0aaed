"""A bucket through simulated days: flushes every few minutes, compactors and retention in between, without Kafka.

Blocks, cuts, merges and indexes are written by the product's own code, into a folder. Only the clock is simulated: a
cycle of the compactor follows each flush, and does what is due.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import process_time
from typing import Final

from agents.compactor.audit import Audit
from agents.compactor.checkpointer import Checkpointer
from agents.compactor.executor import MergeExecutor
from agents.compactor.filter_packer import FilterPacker
from agents.compactor.leader import Chores, Leader, LeaderLimits, TenantRules
from agents.compactor.upkeep import Upkeep
from app.settings import Settings
from benchmarks.months.cost import Cost, cost_of
from benchmarks.months.traffic import Traffic
from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut
from tables.catalog.index_store import IndexStore
from tables.merge.merge_blocks import MergedBlock, merge_blocks
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig

CLUSTER: Final = "months"
START_S: Final = 1_800_000_000.0
_SETTLE_BLOCKS: Final = 2  # as `app.targets.compactor`


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. spans: of a tenant, in a block of one partition. compacts: whether there is a compactor"""

    days: float = 3.0
    tenants: int = 1
    partitions: int = 4
    flush_s: float = 300.0
    spans: int = 200
    compacts: bool = True

    @property
    def flushes(self) -> int:
        return round(self.days * 86_400 / self.flush_s)

    @property
    def names(self) -> list[str]:
        return [f"tenant-{number:02d}" for number in range(self.tenants)]


@dataclass(slots=True)
class Written:
    """Blocks and bytes of their data files, and the seconds of CPU time that merges took."""

    flushed_blocks: int = 0
    flushed_spans: int = 0
    flushed_bytes: int = 0
    merges: int = 0
    merged_spans: int = 0
    merged_bytes: int = 0
    merge_cpu_s: float = 0.0
    compactor: Cost = field(default_factory=Cost)

    @property
    def amplification(self) -> float:
        """Bytes that merges wrote, for each byte that was flushed."""
        return self.merged_bytes / max(1, self.flushed_bytes)


class Months:
    """The bucket, its writer and its compactor. `now_s` is the simulated time."""

    def __init__(self, plan: Plan, folder: Path, settings: Settings) -> None:
        self.plan, self.settings = plan, settings
        self.store = ObjectStore(StorageConfig("local", str(folder / "bucket")))
        self.now_s, self.written = START_S, Written()
        self._scratch = folder / "merge"
        self._scratch.mkdir()
        columns_max = settings.storage.trace.block.attribute_columns_max
        self._traffic = Traffic(plan.spans, plan.partitions, columns_max)
        self._cuts = self.block_list().cuts
        self._offset = 0
        self._leader, self._executor = self._compactor(columns_max)

    def block_list(self) -> BlockList:
        """As a process has it that has just started."""
        cache_bytes = self.settings.query.column_cache_bytes_max
        return BlockList(self.store, CLUSTER, ByteCache("columns-months", cache_bytes))

    def flush(self) -> None:
        """Each partition flushes a block of each tenant, and a cut; then time goes on, and the compactor runs."""
        for partition in range(self.plan.partitions):
            metas = [self._block(tenant, partition) for tenant in self.plan.names]
            keys = tuple(sorted(meta.key for meta in metas))
            self._cuts.write(Cut(partition, self._offset, self._offset + 99, keys, tuple(metas)))
        self._offset += 100
        self.now_s += self.plan.flush_s
        if self.plan.compacts:
            self._compact()

    def _block(self, tenant: str, partition: int) -> BlockMeta:
        plan, written = self.plan, self.written
        segment = self._traffic.segment(partition, self.now_s)
        place = BlockRange(CLUSTER, tenant, partition, plan.partitions, self._offset, self._offset + 99)
        meta = write_block(self.store, place, [segment])
        written.flushed_blocks += 1
        written.flushed_spans += meta.spans
        written.flushed_bytes += meta.size_bytes
        return meta

    def _compact(self) -> None:
        """Cycles of the leader, and the jobs that it hands out, until nothing is due."""
        self.written.compactor.add(cost_of(self._cycles))

    def _cycles(self) -> None:
        while jobs := self._leader.cycle({}):
            for job in jobs:
                self._executor.run(job)

    def _merge(self, columns_max: int, blocks: Sequence[BlockMeta]) -> MergedBlock:
        began_s, written = process_time(), self.written
        merged = merge_blocks(self.store, blocks, columns_max, folder=self._scratch)
        written.merge_cpu_s += process_time() - began_s
        written.merges += 1
        written.merged_spans += merged.meta.spans
        written.merged_bytes += merged.meta.size_bytes
        return merged

    def _compactor(self, columns_max: int) -> tuple[Leader, MergeExecutor]:
        compactor, merging = self.settings.compactor, self.settings.compactor.compaction

        def clock() -> float:
            return self.now_s

        # Objects have real times: what waits for them to be old would wait for real hours.
        blocks, indexes = self.block_list(), IndexStore(self.store, kept_s=0.0)
        chores = Chores(
            Upkeep(blocks, indexes, merging.compacted_block_retention, compactor.checkpoint_interval, clock),
            Checkpointer(blocks, compactor.checkpoint_interval, 0.0, clock),
            Audit(blocks, 0.0, 0.0, clock),
            pack_filters=FilterPacker(blocks, indexes, merging.compacted_block_retention, clock).run,
        )
        limits = LeaderLimits(
            range(self.plan.partitions),
            _SETTLE_BLOCKS * self.plan.flush_s,
            merging.max_block_bytes,
            merging.input_blocks_min,
            merging.input_blocks_max,
            10_000,
        )
        rules = TenantRules(merging.block_retention, merging.compaction_window)
        merge = partial(self._merge, columns_max)
        executor = MergeExecutor(blocks, indexes, merge, range(self.plan.partitions), clock)
        return Leader(blocks, chores, lambda _: rules, limits, clock), executor


def in_folder() -> "tempfile.TemporaryDirectory[str]":
    """A folder for a bucket; it vanishes in the end."""
    return tempfile.TemporaryDirectory(prefix="stretto-months-")
