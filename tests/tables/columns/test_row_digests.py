"""Digests say the same of a row wherever its values rest."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.columns.row_digests import NO_DIGESTS, row_digests
from tables.seal import seal
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.examples import examples
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def columns(request: ExportTraceServiceRequest, columns_max: int) -> dict[str, Any]:
    table = seal([DECODER.decode([request.SerializeToString()]).spans], columns_max).combine_chunks()
    return {name: table[name].chunk(0) for name in table.column_names if table.num_rows}


@given(REQUESTS, st.integers(0, 3))
@settings(max_examples=examples(60), deadline=None)
def test_attributes_without_columns(request: ExportTraceServiceRequest, columns_max: int) -> None:
    """The overflow holds the same values."""
    every = columns(request, 1000)
    rows = len(every.get("trace_id", ()))
    assert row_digests(columns(request, columns_max), rows).tolist() == row_digests(every, rows).tolist()


def test_digests_add_up() -> None:
    texts, ints = pa.array(["a", "a", None]), pa.array([1, 2, None])
    both = row_digests({"span.t:string": texts, "span.n:int": ints}, 3)
    assert (both == row_digests({"span.t:string": texts}, 3) + row_digests({"span.n:int": ints}, 3)).all()
    assert len(set(both.tolist())) == 3
    assert both[2] == 0


@given(st.lists(st.lists(st.integers(0, 9), unique=True), max_size=4))
def test_each_row_is_made_once(asked: list[list[int]]) -> None:
    known, made = NO_DIGESTS, list[int]()

    def make(rows: Any) -> Any:
        made.extend(rows.tolist())
        return rows.astype(np.uint64) * np.uint64(7)

    for rows in asked:
        known = known.with_rows(np.array(rows, np.int64), make)
        assert known.of(np.array(rows, np.int64)).tolist() == [row * 7 for row in rows]
    assert sorted(made) == sorted({row for rows in asked for row in rows})
