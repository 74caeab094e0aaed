"""A bucket with flushes, compactors and readers, without Kafka: what happens between two storage operations is chosen
by the test.

Files hold JSON lists of numbers instead of spans. A reader counts the numbers of all visible blocks.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from agents.compactor.audit import Audit
from agents.compactor.checkpointer import Checkpointer
from agents.compactor.executor import MergeExecutor, run_job
from agents.compactor.filter_packer import FilterPacker
from agents.compactor.job import MERGE, Job
from agents.compactor.leader import Chores, Leader, LeaderLimits, TenantRules
from agents.compactor.upkeep import Upkeep
from tables.blocks.meta import BlockMeta, FileMeta, block_id, merged_block_id
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut
from tables.catalog.index_store import IndexStore
from tables.errors import DamagedError
from tables.merge.merge_blocks import MergedBlock
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.request_runner import RequestRunner, StorageRequest

CLUSTER = "kafka-1"
GRACE_S = 3600.0
RETENTION_S = 8 * 3600.0
WINDOW_S = 900.0


class Killed(BaseException):
    """The process ends between two storage operations."""


class _MortalRunner(RequestRunner):
    """Makes the requests of a store that may die."""

    def __init__(self, store: "MortalStore") -> None:
        super().__init__(store.config)
        self._store = store

    def run(self, ask: StorageRequest, work: Callable[[], Any], size: Callable[[Any], int] | None = None) -> Any:
        store = self._store
        if store.requests_left is None:
            return super().run(ask, work, size)
        store.requests_left -= 1
        if store.requests_left > 0:
            return super().run(ask, work, size)
        if store.after:
            super().run(ask, work, size)
        raise Killed


class MortalStore(ObjectStore):
    """Ends its process before, or right after, one of its next requests."""

    def __init__(self, folder: Path) -> None:
        super().__init__(StorageConfig("local", str(folder)))
        self.requests_left: int | None = None  # None: it lives on
        self.after = False
        self._runner = _MortalRunner(self)
        self.reply_lost = False  # of the next version of an index: the client sends it again, and finds it there

    def create(self, path: str, data: Any) -> bool:
        created = super().create(path, data)
        if path.startswith("index/") and self.reply_lost:
            self.reply_lost = False
            return False
        return created


class Bucket:
    """What was flushed, and when. Times are Unix seconds."""

    def __init__(
        self, folder: Path, tenants: Sequence[str] = ("a", "b"), partitions: int = 2, *, before: bool = False
    ) -> None:
        """before: blocks and cuts are written as before November 2026"""
        self.folder, self.tenants, self.partitions, self.before = folder, tenants, partitions, before
        self.cluster_id = CLUSTER
        self.partition_count = partitions
        self.now_s = 1_700_000_000.0
        self.next_offset = dict.fromkeys(range(partitions), 0)
        self.next_number = 1
        # By tenant: number → (partition, offset, received)
        self.numbers: dict[str, dict[int, tuple[int, int, float]]] = {tenant: {} for tenant in tenants}
        self.writer = self.block_list()

    def block_list(self, store: ObjectStore | None = None) -> BlockList:
        store = store or ObjectStore(StorageConfig("local", str(self.folder)))
        return BlockList(store, self.cluster_id, ByteCache("columns-compaction-test", 1 << 20))

    def clock(self) -> float:
        return self.now_s

    def flush(self, partition: int, counts: Mapping[str, int]) -> Cut:
        """A block of each tenant with so many numbers, and the cut."""
        first = self.next_offset[partition]
        last = first + max(1, sum(counts.values())) - 1
        metas = []
        for tenant, count in sorted(counts.items()):
            if not count:
                continue
            numbers = list(range(self.next_number, self.next_number + count))
            self.next_number += count
            self.numbers[tenant] |= dict.fromkeys(numbers, (partition, first, self.now_s))
            name = block_id(CLUSTER, tenant, partition, first, last)
            received_s = 0.0 if self.before else self.now_s
            made = meta_of(
                name,
                tenant,
                partition,
                first,
                last,
                numbers,
                received_s,
                end_max_ns=int(self.now_s * 1e9),
                partition_count=self.partition_count,
            )
            write(self.writer.store, made, numbers)
            metas.append(made)
        cut = Cut(
            partition, first, last, tuple(sorted(meta.key for meta in metas)), () if self.before else tuple(metas)
        )
        self.writer.cuts.write(cut)
        self.next_offset[partition] = last + 1
        return cut


def meta_of(
    name: str, tenant: str, partition: int, first: int, last: int, numbers: Sequence[int], now_s: float, **more: Any
) -> BlockMeta:
    size = len(orjson.dumps(list(numbers)))
    file = FileMeta(name="data-0000.parquet", size_bytes=size, spans=len(numbers), start_min_ns=1, end_max_ns=2)
    times = {"received_min_ms": round(now_s * 1000), "received_max_ms": round(now_s * 1000)}
    about: dict[str, Any] = {
        "block_id": name,
        "tenant": tenant,
        "cluster_id": CLUSTER,
        "partition": partition,
        "partition_count": 2,
        "first_offset": first,
        "last_offset": last,
        "spans": len(numbers),
        "start_min_ns": 1,
        "end_max_ns": 2,
        "size_bytes": size,
        "files": [file],
    }
    return BlockMeta(**{**about, **times, **more})


def write(store: ObjectStore, meta: BlockMeta, numbers: Sequence[int]) -> None:
    store.put(f"{meta.folder}/data-0000.parquet", orjson.dumps(list(numbers)))
    store.put(meta.path, meta.encode())


def read(store: ObjectStore, meta: BlockMeta) -> list[int]:
    path = f"{meta.folder}/data-0000.parquet"
    data = store.get(path)
    if data is None:
        raise DamagedError(path, "is missing")
    numbers: list[int] = orjson.loads(data)
    return numbers


def merge(store: ObjectStore, inputs: Sequence[BlockMeta]) -> MergedBlock:
    """Stands for `tables.merge.merge_blocks`: the same objects in the same order."""
    assert len({(meta.tenant, meta.cluster_id, meta.partition, meta.partition_count) for meta in inputs}) == 1
    numbers = [number for meta in inputs for number in read(store, meta)]
    name = merged_block_id([meta.block_id for meta in inputs])
    made = meta_of(
        name,
        inputs[0].tenant,
        inputs[0].partition,
        min(meta.first_offset for meta in inputs),
        max(meta.last_offset for meta in inputs),
        numbers,
        0.0,
        received_min_ms=min(meta.received_min_ms for meta in inputs),
        received_max_ms=max(meta.newest_ms for meta in inputs),
        partition_count=inputs[0].partition_count,
        level=1 + max(meta.level for meta in inputs),
        replaces=[meta.block_id for meta in inputs],
    )
    write(store, made, numbers)
    return MergedBlock(made, 0)


class Compactor:
    """One process: an executor, and a leader if it is one."""

    def __init__(
        self, bucket: Bucket, retention_s: float = RETENTION_S, *, dry_run: bool = False, poll_age_s: float = 0.0
    ) -> None:
        self.bucket = bucket
        self.store = MortalStore(bucket.folder)
        self.blocks = bucket.block_list(self.store)
        indexes = IndexStore(self.store, kept_s=0.0)
        clock = bucket.clock
        executor = MergeExecutor(
            self.blocks, indexes, lambda inputs: merge(self.store, inputs), range(bucket.partitions), clock
        )
        self._executor = executor
        chores = Chores(
            Upkeep(self.blocks, indexes, GRACE_S, 600.0, clock, dry_run=dry_run),
            Checkpointer(self.blocks, 600.0, 0.0, clock, dry_run=dry_run),
            Audit(self.blocks, 1800.0, 0.0, clock, dry_run=dry_run),
            pack_filters=FilterPacker(self.blocks, indexes, GRACE_S, clock, dry_run=dry_run).run,
        )
        limits = LeaderLimits(range(bucket.partitions), 60.0, 1 << 30, 4, 8, 100, poll_age_s)
        self.leader = Leader(self.blocks, chores, lambda _: TenantRules(retention_s, WINDOW_S), limits, clock)

    def run(self, job: Job) -> str:
        return run_job({MERGE: self._executor.run}, job)

    def cycle(self, committed: Mapping[int, int] | None = None) -> list[Job]:
        return self.leader.cycle(committed or {})

    def settle(self, rounds_max: int = 20) -> int:
        """Cycles and jobs until nothing is left to do. Returns how many jobs were run."""
        count = 0
        for _ in range(rounds_max):
            jobs = self.cycle()
            if not jobs:
                return count
            for job in jobs:
                self.run(job)
                count += 1
        raise AssertionError("merges without an end")


class Reader:
    """A process that answers queries, and knows what its last poll has read."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket, self.blocks = bucket, bucket.block_list()
        self.polled_s = 0.0
        self.poll()

    def poll(self) -> None:
        self.blocks.poll(range(self.bucket.partitions))
        self.polled_s = self.bucket.now_s

    def visible(self, tenant: str) -> list[BlockMeta]:
        return self.blocks.snapshot(tenant).blocks

    def check(self, retention_s: float = RETENTION_S) -> None:
        """Every number below the flushed offset is read exactly once, but for those whose retention is over."""
        for tenant in self.bucket.tenants:
            snapshot = self.blocks.snapshot(tenant)
            assert not snapshot.problems
            assert not snapshot.damaged
            counts = Counter(number for meta in snapshot.blocks for number in read(self.blocks.store, meta))
            assert not [number for number, count in counts.items() if count > 1], "read twice"
            below = {
                number: at
                for number, at in self.bucket.numbers[tenant].items()
                if at[1] < snapshot.flushed_offsets.get(at[0], 0)
            }
            assert counts.keys() <= below.keys(), "read before its cut, or of another tenant"
            young_s = self.bucket.now_s - retention_s
            lost = [number for number, at in below.items() if at[2] >= young_s and number not in counts]
            assert not lost, f"{len(lost)} numbers of tenant {tenant} are missing"
