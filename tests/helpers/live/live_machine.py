"""The live store as a state machine for Hypothesis: one partition, its topic, and a worker.

The real live store, segments in RocksDB, blocks and cuts in object storage: records are appended, redelivered, sealed,
flushed, other workers cut the same partition, the process crashes at any point between two steps and starts again from
what disk and storage hold.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faust
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.catalog.block_list import BlockList
from tables.live.partition import CutPolicy, Incoming, LivePartition
from tables.live.partition_jobs import FlushJob, Job, MarkJob, SealJob
from tables.live.segment_bytes import SegmentBytes
from tables.live.segment_table import SegmentTable
from tables.live.shared_records import HeadRecord
from tables.live.store import LiveStore
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder

DECODER = OtlpDecoder()
TENANTS = ("a", "b", "c")
POLICY = CutPolicy(
    partitions=1,
    segment_rows_max=6,
    segment_age_ms=1000,
    block_rows_max=20,
    block_age_ms=3000,
    many_heads=1,
    small_head_spans=4,
)


class Topic:
    """One partition of the topic: what Kafka would keep."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, list[tuple[str, int]]]] = []  # timestamp, value, runs
        self.spans: list[list[tuple[str, bytes]]] = []
        self.next_span = 1
        self.now_ms = 10_000

    def produce(self, runs: Sequence[tuple[str, int]], traces: int) -> None:
        """One record; a shared one if there are several runs. Traces of all tenants have the same ids."""
        message = ExportTraceServiceRequest()
        ids = []
        for tenant, spans in runs:
            scope = message.resource_spans.add().scope_spans.add()
            for n in range(spans):
                trace_id = (1 + n % traces).to_bytes(16, "big")
                span_id = self.next_span.to_bytes(8, "big")
                self.next_span += 1
                ids.append((tenant, span_id))
                one = scope.spans.add(trace_id=trace_id, span_id=span_id, start_time_unix_nano=self.next_span)
                one.attributes.add(key=f"of-{tenant}").value.int_value = n
        value, _ = record.encode(DECODER.decode([message.SerializeToString()]).spans)
        self.records.append((self.now_ms, value, list(runs)))
        self.spans.append(ids)

    def produce_garbage(self, tenants: Sequence[str]) -> None:
        self.records.append((self.now_ms, b"\x10\0\0\0garbage", [(tenant, 1) for tenant in tenants]))
        self.spans.append([])

    def incoming(self, offset: int) -> Incoming:
        timestamp_ms, value, runs = self.records[offset]
        total = sum(spans for _, spans in runs) if len(runs) > 1 else 0
        parts = []
        first = 0
        for tenant, spans in runs:
            parts.append((tenant, HeadRecord(offset, spans, value, first, total)))
            first += spans
        return Incoming(offset, timestamp_ms, parts)


class Worker:
    """What `agents.live_store.agent` does, step by step instead of in the background."""

    def __init__(self, folder: Path, storage: ObjectStore) -> None:
        app = faust.App("machine", broker="kafka://127.0.0.1:1", store="memory://")
        self.table = SegmentTable(app, folder)
        columns: ByteCache[Any, Any] = ByteCache("columns-test", 4 << 20)
        segments = self.table.open("cluster_id")
        data = SegmentBytes(segments, 1 << 20)
        blocks = BlockList(storage, "cluster_id", columns, data.block_file, remake=data.remade_block_file)
        self.store = LiveStore(segments, blocks, POLICY, data, columns)
        self.jobs: list[Job] = []
        self.flushes: list[FlushJob] = []
        self.retired: list[Any] = []
        self.questions = 0
        self.open()

    def open(self) -> None:
        self.store.adopt(self.store.load(0))
        self.jobs, self.flushes = [], []

    @property
    def state(self) -> LivePartition:
        return self.store.partitions[0]

    def run_job(self) -> None:
        job = self.jobs.pop(0)
        match job:
            case SealJob():
                info, _ = self.store.seal(0, job)
                self.state.sealed(job, info)
            case MarkJob(offset):
                self.store.save_sealed_offset(0, offset)
            case FlushJob():
                self.flushes.append(job)

    def run_flush(self, *, crash_before_telling: bool = False) -> None:
        job = self.flushes.pop(0)
        result = self.store.flush(0, job, self.state.to_flush(job))
        if crash_before_telling:
            return
        if result.ours:
            self.retired += self.store.flushed(self.state, job, result)
        else:
            self.start_over()

    def start_over(self) -> None:
        """Another worker has cut at a different offset."""
        self.store.release(0)
        self.store.reset(0)
        self.open()

    def sources(self, tenant: str, trace_id: bytes | None = None) -> list[Any]:
        live = self.store.view(tenant)
        sources: list[Any] = [source for meta in live.blocks.blocks for source in self.store.blocks.sources(meta)]
        return sources + [source for parts in live.parts.values() for part in parts for source in part(trace_id)]

    def ask_for_another_column(self) -> None:
        """What is in the cache answers many questions; one that was not asked before needs the file."""
        self.questions += 1
        for tenant in TENANTS:
            for source in self.sources(tenant):
                columns = sorted(source.columns)
                column = columns[self.questions % len(columns)]
                assert len(source.read([column])[column]) == source.rows

    def spans_by_trace(self) -> Counter[tuple[str, bytes]]:
        """The same, found trace by trace."""
        found: Counter[tuple[str, bytes]] = Counter()
        for tenant in TENANTS:
            for trace_id in (n.to_bytes(16, "big") for n in (1, 2, 3)):
                for source in self.sources(tenant, trace_id):
                    rows = source.read(["trace_id", "span_id"])
                    pairs = zip(rows["trace_id"].to_pylist(), rows["span_id"].to_pylist(), strict=True)
                    found.update((tenant, span) for trace, span in pairs if trace == trace_id)
        return found

    def spans(self) -> Counter[tuple[str, bytes]]:
        found: Counter[tuple[str, bytes]] = Counter()
        for tenant in TENANTS:
            for source in self.sources(tenant):
                found.update((tenant, span_id) for span_id in source.read(["span_id"])["span_id"].to_pylist())
                assert {c for c in source.columns if c.startswith("span.")} <= {f"span.of-{tenant}:int"}
        return found

    def close(self) -> None:
        self.table.close()


class LiveMachine(RuleBasedStateMachine):
    """One partition, one worker at a time, sometimes a second one with an old view."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.storage = ObjectStore(StorageConfig("local", str(self.folder / "storage")))
        self.topic = Topic()
        self.workers = 0
        self.worker = self._new_worker()

    def _new_worker(self, disk: str = "live") -> Worker:
        return Worker(self.folder / disk, self.storage)

    @rule(tenant=st.sampled_from(TENANTS), spans=st.integers(1, 8), traces=st.integers(1, 3))
    def produce(self, tenant: str, spans: int, traces: int) -> None:
        self.topic.produce([(tenant, spans)], traces)

    @rule(
        tenants=st.lists(st.sampled_from(TENANTS), min_size=2, unique=True),
        spans=st.lists(st.integers(1, 3), min_size=3, max_size=3),
        traces=st.integers(1, 3),
    )
    def produce_shared(self, tenants: list[str], spans: list[int], traces: int) -> None:
        self.topic.produce(list(zip(tenants, spans, strict=False)), traces)

    @rule(tenants=st.lists(st.sampled_from(TENANTS), min_size=1, unique=True))
    def produce_garbage(self, tenants: list[str]) -> None:
        self.topic.produce_garbage(tenants)

    @rule(ms=st.integers(1, 2500))
    def time_passes(self, ms: int) -> None:
        self.topic.now_ms += ms

    @rule(back=st.integers(0, 4), count=st.integers(1, 6))
    def consume(self, back: int, count: int) -> None:
        """From the next offset, or from an earlier one: redelivery."""
        state = self.worker.state
        first = max(0, state.next_offset - back)
        for offset in range(first, min(first + count, len(self.topic.records))):
            self.worker.jobs += state.append(self.topic.incoming(offset))

    @rule(
        records=st.lists(
            st.tuples(st.lists(st.sampled_from(TENANTS), min_size=1, unique=True), st.integers(0, 700)),
            min_size=1,
            max_size=8,
        ),
    )
    def work(self, records: list[tuple[list[str], int]]) -> None:
        """All goes as it should for a while; only blocks wait."""
        for tenants, ms in records:
            self.topic.now_ms += ms
            self.topic.produce([(tenant, 1) for tenant in tenants], 3)
        self.consume(0, len(self.topic.records))
        while self.worker.jobs:
            self.worker.run_job()

    @rule()
    def seal_early(self) -> None:
        """Heads hold too much, or the worker stops."""
        self.worker.jobs += self.worker.state.seal_all()

    @rule()
    def idle(self) -> None:
        self.worker.jobs += self.worker.state.tick(self.topic.now_ms)

    @precondition(lambda self: self.worker.jobs)
    @rule(count=st.integers(1, 4))
    def run_jobs(self, count: int) -> None:
        for _ in range(min(count, len(self.worker.jobs))):
            self.worker.run_job()

    @precondition(lambda self: self.worker.flushes)
    @rule()
    def flush(self) -> None:
        self.worker.run_flush()

    @rule()
    def cut_blocks(self) -> None:
        """Long enough nothing happens: all that was consumed is in blocks."""
        self.topic.now_ms += 100_000
        self.idle()
        while self.worker.jobs or self.worker.flushes:
            self.run_jobs(len(self.worker.jobs))
            while self.worker.flushes:
                self.flush()

    @precondition(lambda self: self.worker.flushes)
    @rule()
    def flush_and_crash(self) -> None:
        """The cut is in storage, nobody here knows."""
        self.worker.run_flush(crash_before_telling=True)
        self.crash()

    @rule()
    def crash(self) -> None:
        self.worker.close()
        self.worker = self._new_worker()

    @rule()
    def lose_the_disk(self) -> None:
        self.worker.close()
        self.workers += 1
        shutil.rmtree(self.folder / "live")
        self.worker = self._new_worker()

    @rule(count=st.integers(1, 12), cut=st.booleans())
    def another_worker_cuts(self, count: int, cut: bool) -> None:
        """It owned the partition for a while, read on from the blocks, and cut where this one would not."""
        self.workers += 1
        other = self._new_worker(f"other{self.workers}")
        state = other.state
        for offset in range(state.next_offset, min(state.next_offset + count, len(self.topic.records))):
            other.jobs += state.append(self.topic.incoming(offset))
        if cut:
            other.jobs += state.tick(self.topic.now_ms + 100_000)
        while other.jobs:
            other.run_job()
        while other.flushes:
            other.run_flush()
        other.close()
        # The partition comes back: as the manager does it, the cuts are read again.
        self.worker.store.blocks.poll([0])
        if self.worker.store.blocks.flushed_offset(0) > self.worker.state.flushed_offset:
            while self.worker.jobs:  # the manager waits for what it has begun
                self.worker.run_job()
            self.worker.store.release(0)
            self.worker.open()

    @precondition(lambda self: self.worker.retired)
    @rule()
    def forget_flushed(self) -> None:
        self.worker.store.delete(self.worker.retired)
        self.worker.retired = []

    @invariant()
    def every_span_once(self) -> None:
        if not hasattr(self, "worker"):
            return
        found = self.worker.spans()
        consumed = self.topic.spans[: self.worker.state.next_offset]
        assert not [span for spans in consumed for span in spans if span not in found], "lost"
        # After a crash, segments may reach beyond what is consumed again: those spans are found already.
        assert not [span for span, count in found.items() if count != 1], "counted twice"
        assert self.worker.spans_by_trace() == found
        self.worker.ask_for_another_column()

    @invariant()
    def bytes_are_those_of_open_heads(self) -> None:
        if not hasattr(self, "worker"):
            return
        state = self.worker.state
        items = [item for opened in state._heads.values() for item in opened.head.records]
        assert state.head_bytes == sum({item.offset: len(item.value) for item in items}.values())
        assert state.head_spans == sum(item.spans for item in items)

    @invariant()
    def blocks_end_between_segments(self) -> None:
        """What a flush takes lies within its offsets."""
        if not hasattr(self, "worker"):
            return
        for job in self.worker.flushes:
            assert all(info.last_offset <= job.last_offset for info in self.worker.state.to_flush(job))

    def teardown(self) -> None:
        if hasattr(self, "worker"):
            self.worker.close()
            shutil.rmtree(self.folder)
