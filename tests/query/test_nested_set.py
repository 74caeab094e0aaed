"""Nested-set numbers and trace facts made anew for stitched traces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.nested_set import number


def numbers(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """(trace, id, parent's id; 0: none) → (left, right, parent)."""
    trace = np.array([span[0] for span in spans], np.int64)
    ids = np.array([span[1].to_bytes(8, "big") for span in spans], "S8")
    parents = np.array([span[2].to_bytes(8, "big") for span in spans], "S8")
    result = number(trace, ids, parents)
    return [(int(a), int(b), int(c)) for a, b, c in zip(*result, strict=True)]


@pytest.mark.parametrize(
    ("spans", "want"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([(0, 1, 0)], [(1, 2, -1)], id="one"),
        pytest.param([(0, 1, 0), (0, 2, 1), (0, 3, 1)], [(1, 6, -1), (2, 3, 1), (4, 5, 1)], id="siblings"),
        pytest.param([(0, 3, 2), (0, 2, 1), (0, 1, 0)], [(3, 4, 2), (2, 5, 1), (1, 6, -1)], id="child before parent"),
        pytest.param([(0, 1, 0), (1, 1, 0), (1, 2, 1)], [(1, 2, -1), (1, 4, -1), (2, 3, 1)], id="two traces, same ids"),
        pytest.param([(0, 1, 0), (0, 2, 9), (0, 3, 2)], [(1, 2, -1), (3, 6, 0), (4, 5, 3)], id="missing parent"),
        pytest.param([(0, 1, 2), (0, 2, 1)], [(1, 4, 0), (2, 3, 1)], id="circle"),
        pytest.param([(0, 1, 1)], [(1, 2, 0)], id="its own parent"),
        pytest.param([(0, 1, 0), (0, 256, 1)], [(1, 4, -1), (2, 3, 1)], id="id with a zero byte at the end"),
    ],
)
def test_number(spans: list[tuple[int, int, int]], want: list[tuple[int, int, int]]) -> None:
    """Left is 2 * place in preorder - depth + 1; parent is the parent's left, -1 none, 0 missing."""
    assert numbers(spans) == want


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=14))
def test_every_forest_is_numbered(drawn: list[tuple[int, int]]) -> None:
    """Whatever the parents are (missing, circles): intervals of a trace nest, and use each number once."""
    spans = sorted((trace, i + 1, parent) for i, (trace, parent) in enumerate(drawn))
    result = numbers(spans)
    for trace in {span[0] for span in spans}:
        mine = [result[i] for i, span in enumerate(spans) if span[0] == trace]
        assert sorted(n for left, right, _ in mine for n in (left, right)) == list(range(1, 2 * len(mine) + 1))
        for left, right, _ in mine:
            assert left < right
            assert all(not (left < other < right < end) for other, end, _ in mine)


def test_deep_chain() -> None:
    """A chain of thousands of spans is a matter of levels, not of recursion."""
    depth = 3000
    result = numbers([(0, i + 1, i) for i in range(depth)])
    assert [left for left, _, _ in result] == list(range(1, depth + 1))
