"""Histograms with native buckets beside the classic ones."""

import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from tables.native_histogram import BUCKETS_MAX, SCHEMA, NativeHistogram


def histogram(**kwargs) -> NativeHistogram:
    return NativeHistogram("a_seconds", "Of a.", buckets=(0.1, 1), registry=CollectorRegistry(), **kwargs)


@settings(max_examples=60)
@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=300))
def test_each_value_is_in_its_bucket(values):
    """However many buckets there were: the bounds of the bucket that counts a value are around it."""
    found = histogram()
    for value in values:
        found.observe(value)
    [(labels, state)] = found.natives()
    base = 2.0**2.0**-state.schema
    want: dict[int, int] = {}
    for value in values:
        index = math.ceil(math.log2(value) * 2.0**state.schema - 1e-12)
        want[index] = want.get(index, 0) + 1
    assert labels == {}
    assert sum(state.buckets.values()) == state.count == len(values)
    assert state.sum == pytest.approx(sum(values))
    assert len(state.buckets) <= BUCKETS_MAX
    # Values at a bound may round to either side in the check, never in what is checked by more than that.
    assert sorted(state.buckets) == pytest.approx(sorted(want), abs=1)
    assert base <= 2.0**2.0**-SCHEMA or state.schema < SCHEMA


VALUES = st.one_of(st.floats(-1, 1e9), st.sampled_from([0.0, 0.1, 1.0, 2.0, math.inf]), st.integers(0, 5))


@settings(max_examples=60)
@given(st.lists(VALUES, max_size=700), st.integers(1, 300))
def test_values_count_together_as_one_by_one(values, read_after):
    """Classic buckets are prometheus_client's own; it does not matter when somebody reads."""
    found, plain, alone = histogram(), Histogram("a_seconds", "", buckets=(0.1, 1), registry=None), histogram()
    for number, value in enumerate(values):
        found.observe(value)
        plain.observe(value)
        alone.observe(value)
        alone.natives()
        if number % read_after == 0:
            list(found.collect())
    (together,), (one_by_one,) = found.natives(), alone.natives()
    assert replace(together[1], sum=0) == replace(one_by_one[1], sum=0)
    assert together[1].sum == pytest.approx(sum(values))

    def samples(one):
        return {
            (s.name, s.labels.get("le")): pytest.approx(s.value)
            for family in one.collect()
            for s in family.samples
            if not s.name.endswith("_created")
        }

    assert samples(found) == samples(plain)


def test_no_value_is_lost_between_threads():
    """Whoever counts, others observe and read meanwhile."""
    found = histogram()
    switched = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            running = [threads.submit(lambda: [found.observe(0.5) for _ in range(20_000)]) for _ in range(4)]
            while not all(one.done() for one in running):
                list(found.collect())
    finally:
        sys.setswitchinterval(switched)
    assert found.natives()[0][1].count == 80_000


@pytest.mark.parametrize(
    ("value", "index"), [(1.0, 0), (1.0000001, 1), (2.0, 8), (0.5, -8), (0.25, -16), (1.9, 8), (1.8, 7)]
)
def test_bounds_belong_to_the_bucket_below(value, index):
    found = histogram()
    found.observe(value)
    assert found.natives()[0][1].buckets == {index: 1}


def test_few_buckets():
    """Beyond the limit they are merged in pairs, and no count is lost."""
    found = histogram()
    for power in range(2 * BUCKETS_MAX):
        found.observe(2.0 ** (power / 8))
    state = found.natives()[0][1]
    assert (state.schema, len(state.buckets) <= BUCKETS_MAX, sum(state.buckets.values())) == (1, True, 200)


def test_zero_and_classic_buckets():
    found = histogram(labelnames=["x"])
    for value in (0.0, 0.05, 0.5, 5):
        found.labels("1").observe(value)
    [(labels, state)] = found.natives()
    assert (labels, state.zeros, state.count) == ({"x": "1"}, 1, 4)
    samples = {(s.name, s.labels.get("le")): s.value for family in found.collect() for s in family.samples}
    assert samples["a_seconds_bucket", "0.1"] == 2
    assert samples["a_seconds_count", None] == 4
