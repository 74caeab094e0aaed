"""The table of sizes: as a dictionary, as long as there is room."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.distributor.span_rules import trace_hashes
from agents.distributor.trace_sizes import WAYS, Charge, TraceSizes
from tests.helpers.examples import examples

# Of 512 sets every eighth: four of 200 traces are in each.
_STEP = np.uint64(8)


def charge(**sizes):
    return Charge(np.array([int(key[1:]) for key in sizes], np.uint64), np.array(list(sizes.values()), np.int64))


@settings(max_examples=examples(15), deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(1, 200), st.integers(1, 1000), min_size=1, max_size=30), min_size=1, max_size=5
    )
)
def test_as_a_dictionary(changes):
    """200 traces in 4096 slots: nothing is forgotten, whatever hashes are in the same set."""
    table, known = TraceSizes(4096, 60.0), {}
    for step, change in enumerate(changes):
        traces = np.array(list(change), np.uint64) * _STEP
        table.add(Charge(traces, np.array(list(change.values()), np.int64)), 1000.0 + step)
        for trace, size in change.items():
            known[trace] = known.get(trace, 0) + size
    traces = np.array(list(known), np.uint64) * _STEP
    assert table.sizes(traces, 1010.0).tolist() == list(known.values())


def test_the_one_without_spans_is_forgotten_first():
    """A set has WAYS slots."""
    table = TraceSizes(WAYS, 60.0)
    for number in range(1, WAYS + 1):
        table.add(Charge(np.array([number], np.uint64), np.array([number])), 1000.0 + number)
    table.add(Charge(np.array([1], np.uint64), np.array([1])), 1020.0)
    table.add(Charge(np.array([99], np.uint64), np.array([9])), 1021.0)
    asked = np.array([1, 2, 3, 99], np.uint64)
    assert table.sizes(asked, 1021.0).tolist() == [2, 0, 3, 9]


def test_after_a_while_a_trace_begins_anew():
    """And what is taken back is not there."""
    table = TraceSizes(64, 60.0)
    table.add(charge(t5=100, t6=7), 1000.0)
    assert table.sizes(np.array([5], np.uint64), 1059.0).tolist() == [100]
    assert table.sizes(np.array([5], np.uint64), 1061.0).tolist() == [0]
    table.add(charge(t6=-7), 1001.0)
    assert table.sizes(np.array([6], np.uint64), 1002.0).tolist() == [0]


@pytest.mark.parametrize("place", [0, 7, 8, 15], ids="byte {}".format)
def test_small_numbers_as_ids(place: int) -> None:
    """256 ids that differ in one byte are in as many sets of 2^17, but for chance: none of them pushes another out."""
    ids = [bytes([1] * place + [number] + [0] * (15 - place)) for number in range(256)]
    spans = pa.record_batch({"trace_id": pa.array(ids, pa.binary(16))})
    hashes = trace_hashes(spans, np.arange(256), "t")
    assert len(set((hashes & np.uint64((1 << 17) - 1)).tolist())) > 250
    table = TraceSizes(1 << 20, 60.0)
    table.add(Charge(hashes, np.full(256, 5)), 1000.0)
    assert table.sizes(hashes, 1001.0).tolist() == [5] * 256
