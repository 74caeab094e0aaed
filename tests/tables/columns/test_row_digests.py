"""Digests say the same of a row wherever its values rest."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.columns import repeated
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
@settings(max_examples=examples(40), deadline=None)
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


@given(
    st.lists(st.sampled_from(["", "a", "b"]), min_size=1, max_size=4),
    st.lists(st.integers(0, 9) | st.none(), max_size=8),
)
def test_codes_stand_for_their_values(values: list[str], codes: list[int | None]) -> None:
    """Values that are there twice, or not in use."""
    within = [None if code is None else code % len(values) for code in codes]
    coded = pa.DictionaryArray.from_arrays(pa.array(within, pa.int32()), pa.array(values, pa.string()))
    plain = pa.array([None if code is None else values[code] for code in within], pa.string())
    for name in ("span.t:string", "trace_state"):  # the second has "" for null
        with patch.object(repeated, "_PLAIN_BYTES_MAX", -1):
            found = row_digests({name: coded}, len(codes))
        assert found.tolist() == row_digests({name: plain}, len(codes)).tolist()


def test_a_long_value_of_many_rows_is_there_once() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), pa.array(["v" * 60_000]))
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        row_digests({"resource.t:string": coded}, len(coded))
    finally:
        pa.set_memory_pool(before)
        POOLS.append(pool)
    assert pool.max_memory() < 5_000_000  # 300 MB if each row had a copy


# Arrays that were made in a pool have its address.
POOLS: list[Any] = []


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
