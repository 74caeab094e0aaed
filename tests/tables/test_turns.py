"""Many objects, some at a time, are the same as all at once."""

import pyarrow as pa
import pytest

from tables.turns import AT_ONCE, as_list, consumed, drop, pieces

SIZES = [0, 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE]


@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_all_items(size: int) -> None:
    """In their order, and none is large."""
    parts = list(pieces(range(size)))
    assert [item for part in parts for item in part] == list(range(size))
    assert all(0 < len(part) <= AT_ONCE for part in parts)


@pytest.mark.parametrize("size", SIZES)
def test_a_list_of_an_array(size: int) -> None:
    """With nulls, also of a slice and of a dictionary."""
    array = pa.array([None if i % 7 == 0 else f"v{i % 100}" for i in range(size)], pa.string())
    for one in (array, array.slice(size // 2), array.dictionary_encode()):
        assert as_list(one) == one.to_pylist()


@pytest.mark.parametrize("size", SIZES)
def test_consumed_and_dropped_lists_are_empty(size: int) -> None:
    """What was taken is not in the list any more."""
    items, others, named = list(range(size)), list(range(size)), dict.fromkeys(range(size))
    for n, item in enumerate(consumed(items), 1):
        assert (item, len(items)) == (n - 1, size - n)
    drop(others)
    drop(named)
    assert items == others == []
    assert not named
