"""Imports from a folder that looks like Tempo's bucket, and reads what came of it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from query.trace.trace import find_trace
from tables.blocks.meta import BlockMeta
from tables.catalog.index_store import IndexStore
from tables.parquet.read import ParquetSource
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import Tail
from tables.storage.object_store import ObjectStore, RangeFile, StorageConfig
from tables.tempo.bucket import tenant_blocks
from tables.tempo.ledger import Ledger
from tables.tempo.limits import EVERYTHING, TimeLimits
from tables.tempo.plan import TransferPlan, plan_tenant
from tables.tempo.transfer import Transferred, transfer
from tables.units import NS_PER_S
from tables.wire.otlp.writer import to_resource_spans
from tests.helpers.querying.otlp_rows import request_of

TENANT = "single-tenant"
START_S = 1_700_000_000


def request(count: int, first: int = 0, traces: int = 3, start_s: int = START_S) -> ExportTraceServiceRequest:
    """Spans with ids from `first` on, of some traces, one a second."""
    rows = [
        {
            "trace_id": (1 + number % traces).to_bytes(16, "big"),
            "span_id": (1 + number).to_bytes(8, "big"),
            "name": f"span {number}",
            "start_ns": (start_s + number - first) * NS_PER_S,
            "duration_ns": 1000 + number,
            "resource.service.name": f"service {number % 2}",
            "span.http.route": f"/{number % 5}",
            "span.number:int": number,
        }
        for number in range(first, first + count)
    ]
    return ExportTraceServiceRequest.FromString(request_of(rows))


def local(folder: Path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(folder)))


def run(
    bucket: Path,
    target: ObjectStore,
    limits: TimeLimits = EVERYTHING,
    tenant: str = TENANT,
    jobs: int = 1,
    **options: Any,
) -> tuple[TransferPlan, list[Transferred]]:
    """An import of a tenant, as the command does it."""
    source, ledger = local(bucket), Ledger(target, tenant)
    plan = plan_tenant(tenant_blocks(source, TENANT), ledger, limits, **options)
    return plan, list(transfer(source, plan, ledger, 100, limits, jobs=jobs))


def visible(target: ObjectStore, tenant: str = TENANT) -> list[BlockMeta]:
    index = IndexStore(target).latest(tenant)
    return [] if index is None else index.metas()


def sources(target: ObjectStore, metas: Iterable[BlockMeta]) -> list[ParquetSource]:
    """The files of blocks, with all checks."""
    cache = ByteCache("test", 1 << 26)
    found = []
    for meta in metas:
        for file in meta.files:
            path = f"{meta.folder}/{file.name}"

            def opener(path: str = path, size: int = file.size_bytes) -> RangeFile:
                return RangeFile(lambda ranges: target.get_ranges(path, ranges), size)

            found.append(ParquetSource(path, opener, cache, file.spans, path, Tail(file.tail_bytes, file.tail_crc32)))
    return found


def traces(target: ObjectStore, trace_ids: Iterable[bytes], tenant: str = TENANT) -> list[ResourceSpans]:
    """The traces as a query by id finds them."""
    files = sources(target, visible(target, tenant))
    tables = [find_trace(files, trace_id) for trace_id in sorted(set(trace_ids))]
    return [group for table in tables if table is not None for group in to_resource_spans(table)]


def span_count(target: ObjectStore, tenant: str = TENANT) -> int:
    """Of all visible blocks, spans that are there twice counted twice."""
    return sum(source.rows for source in sources(target, visible(target, tenant)))


def trace_ids(requests: Iterable[ExportTraceServiceRequest]) -> Counter[bytes]:
    """How many spans each trace has."""
    return Counter(
        span.trace_id
        for request in requests
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    )
