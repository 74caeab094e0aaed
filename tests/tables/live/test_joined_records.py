"""Records of few spans are joined before they are sealed: that changes nothing but the time it takes."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.live import decode_together
from tables.live.decode_together import joined
from tables.live.head import seal_records
from tables.live.shared_records import HeadRecord, spans_of
from tables.wire import record
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import DECODER, request, span
from tests.strategies import REQUESTS


def head_record(offset: int, *bodies: bytes) -> HeadRecord:
    spans = DECODER.decode(list(bodies)).spans
    return HeadRecord(offset, len(spans), bytes(record.encode(spans)[0]))


def sealed(records: list[HeadRecord]) -> list[dict[str, Any]] | None:
    """The rows of the segment, in its order."""
    table, bad = seal_records(records)
    assert not bad
    return None if table is None else table.select(sorted(table.column_names)).to_pylist()


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(REQUESTS, min_size=2, max_size=8))
def test_the_same_segment(requests: list[Any]) -> None:
    records = [head_record(number, one.SerializeToString()) for number, one in enumerate(requests)]
    records = [one for one in records if one.spans]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_together, "_JOINED_ROWS", 1)  # each record for itself
        wanted = sealed(records)
    assert sealed(records) == wanted


def test_records_with_the_same_columns_are_one_batch() -> None:
    plain = [head_record(number, request([span(number)])) for number in range(1, 21)]
    with_state = [head_record(number, request([span(number, trace_state="a=b")])) for number in range(21, 31)]
    mixed = [one for pair in zip(plain[:10], with_state, strict=True) for one in pair] + plain[10:]
    batches, bad = spans_of(mixed)
    assert (sorted(map(len, batches)), bad) == ([10, 20], [])


def test_joined_batches_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the head is in memory twice at no time."""
    monkeypatch.setattr(decode_together, "_JOINED_ROWS", 10)
    batches, _ = spans_of([head_record(n, request([span(3 * n + m) for m in range(3)])) for n in range(1, 9)])
    assert [len(batch) for batch in batches] == [12, 12]


def test_more_names_than_a_batch_can_number_stay_apart() -> None:
    def batch(first: int) -> pa.RecordBatch:
        names = pa.array([f"name-{n}" for n in range(first, first + 20_000)])
        index = pa.array(range(20_000), pa.int16())
        return pa.record_batch({"name": pa.DictionaryArray.from_arrays(index, names)})

    batches = joined([batch(0).slice(0, 100), batch(0).slice(100, 100)])
    assert [len(one) for one in batches] == [200]
    some = [batch(0).slice(0, 100), batch(20_000).slice(0, 100)]
    assert joined(some) == some
