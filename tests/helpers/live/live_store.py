"""A live store without Kafka: its agent over a real store on disk, and the records that it takes."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
from faust.types import TP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.live_store.block_flusher import BlockFlusher
from agents.live_store.flush_queue import Flush, FlushQueue
from agents.live_store.limits import LiveLimits
from agents.live_store.partition_manager import PartitionManager
from agents.stream.consumer_report import ConsumerReport
from tables.catalog.block_list import BlockList
from tables.live.partition import CutPolicy, LivePartition
from tables.live.segment_bytes import SegmentBytes
from tables.live.segment_table import SegmentTable
from tables.live.store import LiveStore
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder

DECODER = OtlpDecoder()
TOPIC = "spans"
TP0 = TP(TOPIC, 0)


class Consumer:
    """What the manager asks of Faust's consumer."""

    def __init__(self) -> None:
        self.earliest = 0
        self.end = 0
        self.sought: list[int] = []
        self.committed: list[int] = []

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self.end)

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self.earliest)

    async def seek(self, _: TP, offset: int) -> None:
        self.sought.append(offset)

    async def commit_through(self, offsets: dict[TP, int]) -> bool:
        self.committed += offsets.values()
        return True


class World:
    """A manager with a real store on disk, and the flushes that it asked for."""

    def __init__(
        self,
        folder: Path,
        limits: LiveLimits,
        policy: CutPolicy,
        flushed: tuple[float, int],
        column_cache_bytes: int,
        storage: StorageConfig | None,
    ) -> None:
        self.app: Any = SimpleNamespace(consumer=Consumer(), consumer_generation_id=1)
        self.table = SegmentTable(
            faust.App("manager", broker="kafka://127.0.0.1:1", store="memory://"), folder / "live"
        )
        self.storage = ObjectStore(storage or StorageConfig("local", str(folder / "storage")))
        columns: ByteCache[Any, Any] = ByteCache("columns-manager", column_cache_bytes)
        segments = self.table.open("cluster_id")
        data = SegmentBytes(segments, 1 << 20)
        blocks = BlockList(self.storage, "cluster_id", columns, data.block_file, remake=data.remade_block_file)
        self.executor = ThreadPoolExecutor(1)
        self._flushes: FlushQueue = asyncio.Queue()
        self.consumers = ConsumerReport()
        self.manager = PartitionManager(self.app, TOPIC, self.executor, limits, self._flushes, self.consumers)
        self.manager.store = self.store = LiveStore(segments, blocks, policy, data, columns)
        self.flusher = BlockFlusher(self.app, self.manager, self.executor, *flushed)
        self._taken: list[Flush] = []

    @property
    def flushes(self) -> list[Flush]:
        """What the manager has asked for."""
        while not self._flushes.empty():
            self._taken.append(self._flushes.get_nowait())
        return self._taken

    @property
    def consumer(self) -> Consumer:
        return self.app.consumer

    @property
    def state(self) -> LivePartition:
        return self.store.partitions[0]

    def spans(self, tenant: str = "t") -> int:
        live = self.store.view(tenant)
        sources = [source for meta in live.blocks.blocks for source in self.store.blocks.sources(meta)]
        sources += [source for parts in live.parts.values() for part in parts for source in part(None)]
        return sum(source.rows for source in sources)

    async def flush_all(self) -> None:
        for _ in range(100):
            await self.manager.drain(0)
            if not self.flushes:
                return
            await self.flusher.flush(self.flushes.pop(0))


LIMITS = LiveLimits(pending_spans_max=1000, head_bytes_max=1 << 30, segment_bytes_max=1 << 30)
POLICY = CutPolicy(partitions=1, segment_rows_max=10, segment_age_ms=1000, block_rows_max=1000, block_age_ms=5000)


@contextmanager
def world(
    folder: Path,
    limits: LiveLimits = LIMITS,
    policy: CutPolicy = POLICY,
    flushed: tuple[float, int] = (3600, 0),
    column_cache_bytes: int = 1 << 20,
    storage: StorageConfig | None = None,
) -> Iterator[World]:
    """flushed: seconds for which segments stay after they became a block, and bytes of them beyond that

    storage: of the blocks; None: a folder
    """
    made = World(folder, limits, policy, flushed, column_cache_bytes, storage)
    try:
        yield made
    finally:
        made.executor.shutdown()
        made.table.close()


def message(offset: int, spans: int = 1, *, seconds: float = 100.0, generation: int = 1, **other: Any) -> Any:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for n in range(spans):
        scope.spans.add(trace_id=b"\1" * 16, span_id=(1 + offset * 1000 + n).to_bytes(8, "big"))
    value, headers = record.encode(DECODER.decode([request.SerializeToString()]).spans)
    parts = {"key": b"t", "value": value, "headers": headers, **other}
    return SimpleNamespace(partition=0, tp=TP0, offset=offset, timestamp=seconds, generation_id=generation, **parts)


def shared_message(offset: int, *spans: int, seconds: float = 100.0, **other: Any) -> Any:
    """A record that tenants t, t1, t2, … share."""
    made = message(offset, sum(spans), seconds=seconds)
    runs = [(f"t{n}" if n else "t", count) for n, count in enumerate(spans)]
    headers = [*made.headers[1:], ("v", b"2"), ("m", ",".join(f"{t}:{n}" for t, n in runs).encode())]
    return SimpleNamespace(**(vars(made) | {"key": b"", "headers": headers} | other))
