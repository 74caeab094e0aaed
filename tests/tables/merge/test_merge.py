"""Files merged are what one seal of all their spans would be, without what clients sent twice."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.columns.whole_traces import FACT_COLUMNS
from tables.merge.merge import merge
from tables.parquet import read, write
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.seal import seal
from tables.storage.byte_cache import ByteCache
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.files import file_of
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def source_of(data: Any, rows: int, cache: ByteCache[Any, Any]) -> ParquetSource:
    return ParquetSource(f"file{id(data)}", lambda: file_of(data), cache, rows)


def rows_of(sources: Sequence[ParquetSource]) -> list[dict[str, Any]]:
    """All rows with what they have, attributes without a column of their own as if they had one."""
    rows: list[dict[str, Any]] = []
    for source in sources:
        columns = source.read(sorted(source.columns))
        for row in pa.table(dict(columns)).to_pylist():
            rows.append({name: repr(value) for name, value in row.items() if value is not None})
    return rows


def sent(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in row.items() if name not in FACT_COLUMNS))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(REQUESTS, min_size=1, max_size=4),
    st.sampled_from([1000, 6, 2, 0]),
    st.sampled_from([1000, 6, 2, 0]),
    st.integers(1, 12),
    st.sampled_from([1, 2, 12_288]),
)
def test_merged_is_as_sealed_together(
    requests: list[ExportTraceServiceRequest], before_max: int, columns_max: int, file_rows: int, page_rows: int
) -> None:
    """Every span once, in order, in as many files as were asked for, with the facts of its whole trace."""
    batches = [DECODER.decode([request.SerializeToString()]).spans for request in requests]
    batches = [batch for batch in batches if len(batch)]
    if not batches:
        return
    cache: ByteCache[Any, Any] = ByteCache("merge", 1 << 24)
    with patch.object(write, "_PAGE_ROWS", page_rows), patch.object(read, "_SOME_COLUMNS", 0):
        parts = [to_parquet(seal([batch], before_max)) for batch in batches]
        files = [source_of(data, len(batch), cache) for data, batch in zip(parts, batches, strict=True)]
        merged = list(merge(files, columns_max, file_rows))
        sources = [source_of(one.data, one.spans, cache) for one in merged]
        together = [source_of(to_parquet(seal(batches, columns_max)), sum(map(len, batches)), cache)]
        got, wanted = rows_of(sources), rows_of(together)
    assert {sent(row) for row in got} == {sent(row) for row in wanted}
    assert max(Counter(map(sent, got)).values()) == 1
    assert sum(one.repeated for one in merged) == len(wanted) - len(got)
    ids = [row["trace_id"] for row in got]
    assert [bytes.fromhex(eval(one).hex()) for one in ids] == sorted(eval(one) for one in ids)
    if len(got) == len(wanted):  # with what was sent twice the numbers of a nested set are others
        assert Counter(tuple(sorted(row.items())) for row in got) == Counter(tuple(sorted(r.items())) for r in wanted)
