"""Sets as sorted arrays: as numpy's own functions make them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.columns.sorted_sets import intersection, is_among, twice, union, unique

DTYPES = ("int64", "int32", "uint64", "S16", "bool")
NUMBERS = st.lists(st.integers(0, 9), max_size=12)


def array(numbers: list[int], dtype: str) -> Any:
    """Values in the order of the numbers; of ids some with zeros at the end."""
    if dtype == "S16":
        return np.array([number.to_bytes(2, "big") + bytes(14) for number in numbers], "S16")
    if dtype == "uint64":
        return np.array(numbers, np.uint64) + np.uint64(2**63)
    return np.array(numbers).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(one=NUMBERS, other=NUMBERS)
def test_as_numpy(dtype: str, one: list[int], other: list[int]) -> None:
    left, right = array(one, dtype), array(other, dtype)
    assert unique(left).tolist() == np.unique(left).tolist()
    assert unique(left).dtype == left.dtype
    assert union(left, right).tolist() == np.union1d(left, right).tolist()
    assert intersection(left, right).tolist() == np.intersect1d(left, right).tolist()
    assert is_among(left, unique(right)).tolist() == [value in right.tolist() for value in left.tolist()]
    several = [value for value in np.unique(left).tolist() if left.tolist().count(value) > 1]
    assert twice(left).tolist() == several
