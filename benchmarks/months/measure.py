"""What a bucket costs those who read it: objects and bytes, requests of polls and queries."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.months.cost import Cost, cost_of
from benchmarks.months.simulation import START_S, Months
from query.metrics.metrics import metrics_instant
from query.requests import InstantRequest, SearchRequest, TraceRequest
from query.search.search import search
from query.trace.by_id import trace_by_id
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.storage.byte_cache import ByteCache
from tables.units import NS_PER_S

_FILTER_THREADS: Final = 8
_FILTER_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """A bucket at one moment of the simulation.

    blocks, files, spans: visible, of all tenants; size_bytes: of these files
    objects, stored_bytes: all that is in the bucket, replaced blocks too
    start: the first poll of a process; poll: one with nothing new; poll_new: one after a flush
    queries: cold, over all time, for one tenant; by name
    """

    day: float
    blocks: int
    files: int
    spans: int
    size_bytes: int
    objects: int
    stored_bytes: int
    index_bytes: int
    start: Cost
    poll: Cost
    poll_new: Cost
    queries: dict[str, Cost]


def measured(months: Months) -> Measured:
    """Measures; a flush of each partition happens meanwhile."""
    partitions = range(months.plan.partitions)
    reader = months.block_list()
    start = cost_of(lambda: reader.poll(partitions))
    poll = cost_of(lambda: reader.poll(partitions))
    asked = _queries(months, reader)
    metas = [meta for tenant in months.plan.names for meta in reader.snapshot(tenant).blocks]
    objects = list(months.store.objects(""))
    day = (months.now_s - START_S) / 86_400
    months.flush()
    return Measured(
        day=day,
        blocks=len(metas),
        files=sum(len(meta.files) for meta in metas),
        spans=sum(meta.spans for meta in metas),
        size_bytes=sum(meta.size_bytes for meta in metas),
        objects=len(objects),
        stored_bytes=sum(stamp.size_bytes for _, stamp in objects),
        index_bytes=sum(stamp.size_bytes for path, stamp in objects if path.startswith("index/")),
        start=start,
        poll=poll,
        poll_new=cost_of(lambda: reader.poll(partitions)),
        queries=asked,
    )


def _queries(months: Months, reader: BlockList) -> dict[str, Cost]:
    """Each by a process that has read no file yet."""
    tenant = months.plan.names[0]
    blocks = reader.snapshot(tenant).blocks
    middle = sorted(blocks, key=lambda meta: meta.start_min_ns)[len(blocks) // 2]
    trace_id = bytes.fromhex(middle.files[0].trace_id_min)

    def over(ask: Callable[[list[Any]], Any]) -> Cost:
        fresh = months.block_list()
        fresh.poll(range(months.plan.partitions))
        return cost_of(lambda: ask([source for meta in blocks for source in fresh.sources(meta)]))

    start_ns, end_ns = round(START_S * NS_PER_S), round(months.now_s * NS_PER_S)

    def rate(sources: list[Any]) -> None:
        request = InstantRequest(query="{ } | rate() by (resource.service.name)", start_ns=start_ns, end_ns=end_ns)
        assert metrics_instant(sources, request).series

    def nothing(sources: list[Any]) -> None:
        assert not search(sources, SearchRequest(query='{ span.nosuch = "x" }', limit=20)).traces

    def newest(sources: list[Any]) -> None:
        query = '{ resource.service.name = "storefront" }'
        assert search(sources, SearchRequest(query=query, limit=20)).traces

    return {
        "rate() by (service)": over(rate),
        "an attribute that no span has": over(nothing),
        "newest 20 of a service": over(newest),
        "trace by id": _trace_cost(months, tenant, trace_id),
    }


def _trace_cost(months: Months, tenant: str, trace_id: bytes) -> Cost:
    fresh = months.block_list()
    fresh.poll(range(months.plan.partitions))
    with ThreadPoolExecutor(_FILTER_THREADS) as pool:
        filters = TraceFilters(pool, ByteCache("bloom-months", _FILTER_BYTES_MAX))

        def look_up() -> None:
            blocks = fresh.snapshot(tenant, trace_id=trace_id).blocks
            files = filters.files_with(fresh.store, blocks, trace_id, fresh.filter_packs(tenant))
            sources = [fresh.sources(meta)[number] for meta, numbers in files for number in numbers]
            table, _ = trace_by_id(sources, TraceRequest(trace_id=trace_id))
            assert table is not None

        return cost_of(look_up)
