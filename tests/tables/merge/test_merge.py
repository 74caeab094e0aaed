"""Files merged are what one seal of all their spans would be, without what clients sent twice."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.columns.trace_facts import trace_facts
from tables.columns.whole_traces import FACT_COLUMNS, SERVICE_NAME
from tables.merge import merge as merge_module
from tables.merge.merge import merge
from tables.parquet import encode_file, write
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.schema import OPTIONAL
from tables.seal import seal
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.blocks.merge_input import input_of
from tests.helpers.examples import examples
from tests.helpers.files import file_of
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def rows_of(files: Sequence[Any]) -> list[dict[str, Any]]:
    """All rows with what they have, attributes without a column of their own as if they had one."""
    cache: ByteCache[Any, Any] = ByteCache("merge", 1 << 24)
    rows: list[dict[str, Any]] = []
    for number, data in enumerate(files):
        metadata = pq.read_metadata(pa.BufferReader(data))
        source = ParquetSource(f"file{number}", partial(file_of, data), cache, metadata.num_rows, tail=tail_of(data))
        columns = source.read(sorted(source.columns))
        rows += [
            {name: value for name, value in row.items() if value is not None and not is_nothing(name, value)}
            for row in pa.table(dict(columns)).to_pylist()
        ]
    return rows


def is_nothing(name: str, value: Any) -> bool:
    """Whether a file without the column would say the same."""
    return name in OPTIONAL.names and name not in ("raw", "raw_owner") and not value


def sent(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in row.items() if name not in FACT_COLUMNS))


def facts_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The facts of whole traces, row by row, from rows in their order."""
    number = {trace: n for n, trace in enumerate(dict.fromkeys(row["trace_id"] for row in rows))}
    trace = np.array([number[row["trace_id"]] for row in rows], np.int64)
    first = np.flatnonzero(np.r_[True, trace[1:] != trace[:-1]])
    span, parent = (
        np.array([int.from_bytes(row[name], "big") for row in rows], np.uint64)
        for name in ("span_id", "parent_span_id")
    )
    kind, start, duration = (
        np.array([row[name] for row in rows], np.int64) for name in ("kind", "start_ns", "duration_ns")
    )
    facts = trace_facts(trace, first, span, parent, kind, start, duration)
    roots = [rows[at] if at >= 0 else {} for at in facts.root[trace].tolist()]
    return {
        "nested_left": facts.nested.left.tolist(),
        "nested_right": facts.nested.right.tolist(),
        "nested_parent": facts.nested.parent.tolist(),
        "trace_start_ns": facts.start_ns[trace].tolist(),
        "trace_duration_ns": facts.duration_ns[trace].tolist(),
        "root_name": [row.get("name") for row in roots],
        "root_service": [row.get(SERVICE_NAME) for row in roots],
    }


@settings(max_examples=examples(25), deadline=None)
@given(
    st.lists(REQUESTS, min_size=1, max_size=4),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([1000, 6, 2, 0]),
    st.sampled_from([1000, 6, 2, 0]),
    st.integers(1, 12),
    st.sampled_from([1, 2, 12_288]),
    st.sampled_from([0, 1 << 20]),
    st.sampled_from([2, 96]),
    st.sampled_from([1, 3, 8192]),
)
def test_merged_is_as_sealed_together(
    requests: list[ExportTraceServiceRequest],
    again: list[int],
    before_max: int,
    columns_max: int,
    file_rows: int,
    page_rows: int,
    held_bytes_max: int,
    inputs_max: int,
    encoded_rows_min: int,
) -> None:
    """Every span once, in order, in about as many files as were asked for, with the facts of its whole trace."""
    requests = [*requests, *(requests[number] for number in again if number < len(requests))]
    batches = [DECODER.decode([request.SerializeToString()]).spans for request in requests]
    batches = [batch for batch in batches if len(batch)]
    if not batches:
        return
    with (
        patch.object(write, "PAGE_ROWS", page_rows),
        patch.object(encode_file, "PAGE_ROWS", page_rows),
        patch.object(encode_file, "_ROWS_MIN", encoded_rows_min),
        patch.object(merge_module, "_HELD_BYTES_MAX", held_bytes_max),
        patch.object(merge_module, "_INPUTS_MAX", inputs_max),
    ):
        inputs = [input_of(to_parquet(seal([batch], before_max))) for batch in batches]
        merged = list(merge(inputs, columns_max, file_rows))
        got = rows_of([one.data for one in merged])
    wanted = rows_of([to_parquet(seal(batches, columns_max))])
    assert {sent(row) for row in got} == {sent(row) for row in wanted}
    assert max(Counter(map(sent, got)).values()) == 1
    assert sum(one.repeated for one in merged) == sum(one.rows for one in inputs) - len(got)
    assert [row["trace_id"] for row in got] == sorted(row["trace_id"] for row in got)
    traces = [one.trace_ids.tolist() for one in merged]
    assert [each for one in traces for each in one] == sorted({row["trace_id"].rstrip(b"\0") for row in got})
    # What one seal makes of every span once.
    facts = facts_of(got)
    assert {name: [row.get(name) for row in got] for name in facts} == facts
