"""A span's whole way through tables: request → record → segment → Parquet → OTLP again, nothing lost."""

from collections import Counter
from collections.abc import Iterable
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

from query.trace.trace import find_trace
from tables.live.shared_records import HeadRecord, SharedRecords
from tables.live.shared_records import spans_of as read_spans
from tables.parquet import read, write
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.seal import seal
from tables.storage.byte_cache import ByteCache
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.writer import to_resource_spans
from tables.wire.split import split
from tests.helpers.examples import examples
from tests.helpers.files import file_of
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def attributes(pairs: Iterable[KeyValue]) -> tuple[bytes, ...]:
    """In any order: columns have their own."""
    return tuple(sorted(pair.SerializeToString(deterministic=True) for pair in pairs))


def spans_of(groups: Iterable[ResourceSpans]) -> Counter[tuple[object, ...]]:
    """Every span with its resource and scope, comparable. A span that is there twice is one span."""
    found: Counter[tuple[object, ...]] = Counter()
    for group in groups:
        resource = (attributes(group.resource.attributes), group.resource.dropped_attributes_count, group.schema_url)
        for scoped in group.scope_spans:
            scope = (
                scoped.scope.name,
                scoped.scope.version,
                attributes(scoped.scope.attributes),
                scoped.scope.dropped_attributes_count,
                scoped.schema_url,
            )
            for span in scoped.spans:
                plain = type(span)()
                plain.CopyFrom(span)
                plain.ClearField("attributes")
                plain.SetInParent()
                if not plain.status.ByteSize():
                    plain.ClearField("status")
                found[(resource, scope, plain.SerializeToString(deterministic=True), attributes(span.attributes))] = 1
    return found


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(REQUESTS, max_size=3),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([1000, 6, 2, 0]),
    st.sampled_from([1, 2, 5, 12_288]),
)
def test_nothing_is_lost(
    requests: list[ExportTraceServiceRequest], partitions: int, tenants: int, columns_max: int, page_rows: int
) -> None:
    """What a client sent is what a trace by id gives back, through every format on the way, however few attributes
    have columns of their own, and however few rows have pages of their own.
    """
    with patch.object(write, "PAGE_ROWS", page_rows), patch.object(read, "_SOME_COLUMNS", 0):
        nothing_is_lost(requests, partitions, tenants, columns_max)


def nothing_is_lost(requests: list[ExportTraceServiceRequest], partitions: int, tenants: int, columns_max: int) -> None:
    bodies = [request.SerializeToString() for request in requests]
    decoded = DECODER.decode(bodies)
    tenant_of = decoded.request_of % tenants
    parts = split(decoded.spans, partitions, tenant_of)
    by_place: dict[tuple[int, int], list[HeadRecord]] = {}
    for offset, part in enumerate(parts):
        shared = len(part.runs) > 1
        value, headers = record.encode(part.spans, [(str(run.tenant), run.spans) for run in part.runs if shared])
        info = record.read_headers(headers)
        assert info.spans == len(part.spans)
        first = 0
        for name, spans in info.runs or ((str(part.runs[0].tenant), info.spans),):
            item = HeadRecord(offset, spans, value, first, info.spans if shared else 0)
            by_place.setdefault((int(name), part.partition), []).append(item)
            first += spans
    together = SharedRecords(by_place.values())
    cache = ByteCache("test", 1 << 20)
    for tenant in range(tenants):
        sources = []
        for (owner, partition), records in by_place.items():
            if owner == tenant:
                batches, bad = read_spans(records, together)
                assert not bad
                table = seal(batches, columns_max)  # without what was sent twice
                data, rows = to_parquet(table), table.num_rows
                key = f"{tenant}/{partition}/{len(sources)}/{id(data)}"
                sources.append(ParquetSource(key, lambda data=data: file_of(data), cache, rows))
        sent = [g for n, request in enumerate(requests) if n % tenants == tenant for g in request.resource_spans]
        got: Counter[tuple[object, ...]] = Counter()
        for trace_id in {s.trace_id for g in sent for scoped in g.scope_spans for s in scoped.spans}:
            trace = find_trace(sources, trace_id)
            assert trace is not None
            got += spans_of(to_resource_spans(trace))
        assert got == spans_of(sent)
