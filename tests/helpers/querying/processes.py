"""Several processes of a cluster in one: each with a live store of its own, over one storage and one log of records."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from faust.types import TP
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.members.member import Member, OffsetRange
from app.querying.blocks.block_messages import METHOD as JOBS
from app.querying.blocks.block_service import BlockService
from app.querying.blocks.block_work import BlockWork, LocalBlockWork
from app.querying.blocks.queued_blocks import JobLimits, QueuedBlockWork
from app.querying.blocks.result_cache import ResultCache
from app.querying.frontend import Frontend, FrontendLimits
from app.querying.gathering import cancel_all
from app.querying.jobs.job_queue import JobQueue, QueueLimits
from app.querying.jobs.querier_slots import QuerierService
from app.querying.jobs.querier_worker import QuerierWorker
from app.querying.live.live_messages import METHOD
from app.querying.live.live_service import LiveService
from app.querying.live.live_stores import LiveStores
from app.querying.live.live_view import live_view
from app.querying.live.partition_counts import PartitionCounts
from app.querying.running.executor import QueryExecutor, QueryLimits
from app.rpc.client import InternalClient
from app.rpc.frames import RpcFrame
from app.rpc.security import InternalSecurity
from app.rpc.server import AskedAgain, Handler, InternalServer
from app.settings.sections.server import Server
from tables.catalog.block_list import BlockList
from tables.live.partition import CutPolicy
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire import record
from tables.wire.split import partition_of
from tests.helpers.live.live_store import DECODER, LIMITS, TOPIC, World
from tests.helpers.querying.members import member

MS = 1_000_000
QUERY_LIMITS = QueryLimits(threads=2, concurrent_max=8, timeout_s=20)


@dataclass(frozen=True)
class Sent:
    """A span. at_ms: when it starts"""

    trace: int
    number: int
    at_ms: int
    name: str = "op"
    parent: int = 0  # number of its parent; 0: it is a root

    @property
    def trace_id(self) -> bytes:
        return (self.trace * 0x9E3779B97F4A7C15 % 2**128).to_bytes(16, "big")


@dataclass
class Log:
    """The topic: the records of each partition, in order."""

    partitions: int
    records: dict[int, list[Any]] = field(default_factory=dict)
    traces: dict[int, list[Counter[int]]] = field(default_factory=dict)  # of each record: spans by trace

    def append(self, spans: Sequence[Sent], *, tenant: str = "t", seconds: float = 100.0) -> None:
        """Each span goes to the partition of its trace, one record for each."""
        by_partition: dict[int, list[Sent]] = {}
        for span in spans:
            by_partition.setdefault(partition_of(span.trace_id, self.partitions), []).append(span)
        for number, some in by_partition.items():
            kept = self.records.setdefault(number, [])
            kept.append(_message(number, len(kept), some, tenant, seconds))
            self.traces.setdefault(number, []).append(Counter(span.trace for span in some))

    def spans_below(self, offsets: Mapping[int, int]) -> Counter[int]:
        """Spans by trace of the records below an offset of each partition."""
        return sum((one for n, end in offsets.items() for one in self.traces.get(n, [])[:end]), Counter())

    def end(self, partition: int) -> int:
        return len(self.records.get(partition, ()))


def _message(partition: int, offset: int, spans: Sequence[Sent], tenant: str, seconds: float) -> Any:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span in spans:
        scope.spans.add(
            trace_id=span.trace_id,
            span_id=span.number.to_bytes(8, "big"),
            parent_span_id=span.parent.to_bytes(8, "big") if span.parent else b"",
            name=span.name,
            start_time_unix_nano=span.at_ms * MS,
            end_time_unix_nano=(span.at_ms + 1) * MS,
        )
    value, headers = record.encode(DECODER.decode([request.SerializeToString()]).spans)
    return SimpleNamespace(
        partition=partition,
        tp=TP(TOPIC, partition),
        offset=offset,
        timestamp=seconds,
        generation_id=1,
        key=tenant.encode(),
        value=value,
        headers=headers,
    )


class FixedMembers:
    """Who is there, as a test says it."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}

    def alive(self, target: str) -> Sequence[Member]:
        return [one for one in self.all() if target in one.targets]

    def serving(self, target: str) -> Sequence[Member]:
        return self.alive(target)

    def all(self) -> Sequence[Member]:
        return [self.members[name] for name in sorted(self.members)]


class Process:
    """A process with a live store. It reads what it owns of the log when it is told to."""

    def __init__(
        self, name: str, folder: Path, storage: StorageConfig, policy: CutPolicy, log: Log, retention_s: float
    ) -> None:
        self.name, self.log = name, log
        self.world = World(folder, LIMITS, policy, (retention_s, 0), 1 << 20, storage)
        self.executor = QueryExecutor(QUERY_LIMITS)
        self.service = LiveService(self.world.manager, self.executor)
        self.server: InternalServer | None = None
        self.owned: set[int] = set()

    async def own(self, partitions: set[int]) -> None:
        """The partitions that it is assigned from now on."""
        self.owned = set(partitions)

        async def ends(*tps: TP) -> dict[TP, int]:
            return {tp: self.log.end(tp.partition) for tp in tps}

        self.world.consumer.highwaters = ends
        await self.world.manager.resume([TP(TOPIC, number) for number in sorted(partitions)])

    async def read(self, partition: int, until: int | None = None) -> None:
        """Takes the partition's records up to an offset; None: all."""
        state = self.world.store.partitions.get(partition)
        if state is None:
            return
        for message in self.log.records.get(partition, [])[state.next_offset : until]:
            await self.world.manager.take(message)
        await self.world.manager.drain(partition)

    async def read_all(self) -> None:
        for number in sorted(self.owned):
            await self.read(number)

    async def flush(self) -> None:
        """Writes the blocks that are due, and makes them visible."""
        for _ in range(100):
            for number in sorted(self.owned):
                await self.world.manager.drain(number)
            if not self.world.flushes:
                return
            await self.world.flusher.flush(self.world.flushes.pop(0))

    def as_member(self) -> Member:
        ranges = {
            number: OffsetRange(one.flushed_offset, one.next_offset)
            for number, one in self.world.store.partitions.items()
        }
        address = "" if self.server is None else self.server.address
        return member(self.name, address=address, partitions=ranges)

    async def serve(
        self, settings: Server | None = None, methods: Mapping[str, Handler] | None = None, port: int = 0
    ) -> None:
        own = settings or Server()
        self.server = InternalServer(
            own, InternalSecurity(own), methods or {METHOD: AskedAgain(self.service.answer)}, port=port
        )
        await self.server.start()

    async def stop_serving(self) -> None:
        if self.server is not None:
            await self.server.stop()

    async def stop(self) -> None:
        await self.stop_serving()
        self.executor.close()
        self.world.executor.shutdown()
        self.world.table.close()


class ProcessGroup:
    """Processes, and a frontend that has no live store of its own, or that of one of them."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        partitions: int,
        policy: CutPolicy,
        retention_s: float,
        wait_s: float,
    ) -> None:
        self.limits = FrontendLimits(timeout_s=20, live_store_wait_s=wait_s)
        storage = StorageConfig("local", str(folder / "storage"))
        self.log = Log(partitions)
        self.members = FixedMembers()
        self.processes = {name: Process(name, folder / name, storage, policy, self.log, retention_s) for name in names}
        self.client = InternalClient(InternalSecurity(Server()), 64 << 20)
        columns: ByteCache[Any, Any] = ByteCache("columns-frontend", 1 << 20)
        self.blocks = BlockList(ObjectStore(storage), "cluster_id", columns)
        self.executor = QueryExecutor(QUERY_LIMITS)
        self.frontend = self.new_frontend(LocalBlockWork(self.executor))

    def new_frontend(self, work: BlockWork) -> Frontend:
        """One without a live store."""
        stores = LiveStores(self.members, lambda: self.client, None, "frontend")
        return Frontend(
            self.executor,
            lambda: self.blocks,
            PartitionCounts(None, self.members, lambda: self.log.partitions),
            stores,
            work,
            self.limits,
        )

    def frontend_in(self, name: str) -> Frontend:
        """One in the process with that live store."""
        process = self.processes[name]

        def take_view(tenant: str, asked: Mapping[int, int]) -> Any:
            return live_view(process.world.manager, tenant, asked)

        stores = LiveStores(self.members, lambda: self.client, take_view, name)
        work = LocalBlockWork(process.executor)
        store = process.world.store
        return Frontend(
            process.executor,
            lambda: store.blocks,
            PartitionCounts(None, self.members, lambda: self.log.partitions),
            stores,
            work,
            self.limits,
        )

    def announce(self) -> None:
        """Everybody's heartbeat."""
        self.members.members = {name: process.as_member() for name, process in self.processes.items()}


class FrontendServer:
    """A frontend that gives blocks to queriers, which fetch jobs from it over gRPC."""

    def __init__(self, group: ProcessGroup, limits: QueueLimits, job_limits: JobLimits, cache_bytes: int) -> None:
        self.queue = JobQueue(limits)
        self._group = group
        self._server = InternalServer(
            Server(), InternalSecurity(Server()), {JOBS: QuerierService(self.queue).serve}, port=0
        )
        work = QueuedBlockWork(group.executor, self.queue, ResultCache(cache_bytes, 1 << 20), job_limits)
        self.frontend = group.new_frontend(work)
        self.queriers: dict[str, asyncio.Task[None]] = {}
        self.services: dict[str, BlockService] = {}
        self._executors: list[QueryExecutor] = []
        self._clients: list[InternalClient] = []

    async def start(self) -> None:
        await self._server.start()

    async def add_querier(self, name: str, jobs_max: int = 2) -> None:
        """Connected when it returns."""
        executor = QueryExecutor(QUERY_LIMITS)
        blocks = BlockList(self._group.blocks.store, "cluster_id", ByteCache(f"columns-{name}", 1 << 20))
        service = self.services[name] = BlockService(executor, lambda: blocks, forgets=True)
        client = InternalClient(InternalSecurity(Server()), 64 << 20)
        self._executors.append(executor)
        self._clients.append(client)

        async def answer(frame: RpcFrame) -> RpcFrame:
            return await service.answer(frame)

        worker = QuerierWorker(name, answer, lambda: client, lambda: [self._server.address], jobs_max)
        self.queriers[name] = asyncio.ensure_future(worker.run())
        async with asyncio.timeout(5):
            while self.queue.slots_of(name) < jobs_max:
                await asyncio.sleep(0.01)

    async def lose_querier(self, name: str) -> None:
        """As if it were killed."""
        await cancel_all([self.queriers.pop(name)])

    async def stop(self) -> None:
        await cancel_all(self.queriers.values())
        for client in self._clients:
            await client.close()
        await self._server.stop()
        for executor in self._executors:
            executor.close()


@asynccontextmanager
async def with_queriers(
    group: ProcessGroup,
    names: Sequence[str],
    *,
    limits: QueueLimits | None = None,
    bytes_per_job: int = 1,
    cache_bytes: int = 0,
    jobs_max: int = 100,
) -> AsyncIterator[FrontendServer]:
    """A frontend of its own, and queriers. By default each block is a job, and nothing is cached.

    jobs_max: so many jobs of a query are given to queriers at once
    """
    made = FrontendServer(group, limits or QueueLimits(), JobLimits(bytes_per_job, jobs_max), cache_bytes)
    try:
        await made.start()
        for name in names:
            await made.add_querier(name)
        yield made
    finally:
        await made.stop()


POLICY = CutPolicy(partitions=2, segment_rows_max=8, segment_age_ms=1000, block_rows_max=1000, block_age_ms=5000)


@asynccontextmanager
async def cluster(
    folder: Path,
    names: Sequence[str] = ("a", "b"),
    partitions: int = 2,
    policy: CutPolicy = POLICY,
    *,
    retention_s: float = 0.2,
    wait_s: float = 0.5,
) -> AsyncIterator[ProcessGroup]:
    """Processes that serve; nobody owns a partition yet.

    retention_s: how long they keep flushed segments. wait_s: how long frontends look for a live store
    """
    made = ProcessGroup(folder, names, partitions, policy, retention_s, wait_s)
    try:
        await asyncio.gather(*(process.serve() for process in made.processes.values()))
        made.announce()
        yield made
    finally:
        await made.client.close()
        for process in made.processes.values():
            await process.stop()
        made.executor.close()
