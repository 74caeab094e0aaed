"""A resource that many spans have is kept once, however long its names and values are: in heads, files and merges."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from tables.columns.in_memory import TableSource
from tables.merge.merge import merge
from tables.parquet.write import to_parquet
from tables.seal import seal
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.blocks.merge_input import input_of

SPANS, LONG = 2_000, 60_000
# As columns or lists of their own for each span: 120 MB and more.
BYTES_MAX = 20_000_000
TEXT = "v" * LONG
ATTRIBUTES = {
    "names": [KeyValue(key=one * LONG, value=AnyValue(string_value="v")) for one in "abc"],
    "texts": [KeyValue(key=one, value=AnyValue(string_value=TEXT)) for one in "abc"],
    "bytes": [KeyValue(key=one, value=AnyValue(bytes_value=TEXT.encode())) for one in "abc"],
    "lists": [
        KeyValue(key=one, value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=TEXT)]))) for one in "abc"
    ],
    "nested": [
        KeyValue(key=one, value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=TEXT), AnyValue()])))
        for one in "abc"
    ],
}


def spans_with(attributes: list[KeyValue], *, of_scope: bool = False, first: int = 1) -> Any:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    scope = group.scope_spans.add()
    (scope.scope if of_scope else group.resource).attributes.extend(attributes)
    for number in range(first, first + SPANS):
        span = scope.spans.add(trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name="op")
        span.start_time_unix_nano, span.end_time_unix_nano = 10**18, 10**18 + 1
    return OtlpDecoder().decode([request.SerializeToString()]).spans


def peak_bytes(work: Callable[[], Any]) -> tuple[Any, int]:
    """What it gives, and the most that Arrow had allocated for it."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        return work(), pool.max_memory()
    finally:
        pa.set_memory_pool(before)
        POOLS.append(pool)  # what was made has its address


POOLS: list[Any] = []


@pytest.mark.parametrize("columns_max", [300, 0])
@pytest.mark.parametrize(("kind", "of_scope"), [*((kind, False) for kind in ATTRIBUTES), ("names", True)])
def test_sealed_written_and_merged(kind: str, of_scope: bool, columns_max: int) -> None:
    batches = [spans_with(ATTRIBUTES[kind], of_scope=of_scope, first=first) for first in (1, 1 + SPANS)]
    tables, peak = peak_bytes(lambda: [seal([batch], columns_max) for batch in batches])
    assert peak < BYTES_MAX
    files, peak = peak_bytes(lambda: [to_parquet(table) for table in tables])
    assert peak < BYTES_MAX
    (merged,), peak = peak_bytes(lambda: list(merge([input_of(file) for file in files], columns_max, 1 << 20)))
    assert peak < BYTES_MAX
    scope = "instrumentation" if of_scope else "resource"
    merged_table = pq.read_table(pa.BufferReader(merged.data), read_dictionary=[])
    for table in (*tables, merged_table.slice(0, 3), merged_table.slice(merged_table.num_rows - 3)):
        source = TableSource(table.slice(0, 3))
        names = sorted(name for name in source.columns if name.startswith(f"{scope}."))
        assert len(names) == 3
        for name, attribute in zip(names, ATTRIBUTES[kind], strict=True):
            assert name.removeprefix(f"{scope}.").startswith(attribute.key[:50])
            first = source.read([name])[name][0].as_py()
            wanted = {"names": "v", "texts": TEXT, "bytes": TEXT.encode()}.get(kind)
            if wanted is not None or isinstance(first, list):
                assert first == (wanted or [TEXT])
            else:
                assert AnyValue.FromString(first) == attribute.value


def test_many_lists() -> None:
    """Each alone is short enough to be a list of each row (48 MB); all of them are not."""
    values = [AnyValue(int_value=number) for number in range(1000, 3000)]
    attributes = [KeyValue(key=one, value=AnyValue(array_value=ArrayValue(values=values))) for one in "abcdef"]
    batch = spans_with(attributes)
    table, peak = peak_bytes(lambda: seal([batch], 300))
    assert peak < 100_000_000  # 256 MB if each were one
    source = TableSource(table.slice(0, 1))
    found = [source.read([name])[name][0].as_py() for name in sorted(source.columns) if name.startswith("resource.")]
    assert len(found) == len(attributes)
    assert found.count(list(range(1000, 3000))) == 1
    assert [AnyValue.FromString(one) for one in found if isinstance(one, bytes)] == [
        AnyValue(array_value=ArrayValue(values=values))
    ] * (len(attributes) - 1)
