"""Nested-set numbers: the vectorised pass equals a walk over each tree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.columns.nested_set import nested_set

Row = tuple[int, ...]  # trace, span id, parent id; kind, of those that matter: 2 is a server


def by_walking(rows: list[Row]) -> list[tuple[int, int, int]]:
    """(left, right, parent) of each row, by recursion in the plainest way."""
    first: dict[tuple[int, int], int] = {}
    for number, (trace, span, *_) in sorted(enumerate(rows), key=lambda one: one[1][3:] != (2,)):
        first.setdefault((trace, span), number)
    parent = [first.get((trace, up), -1) if up else -1 for trace, _, up, *_ in rows]
    for number in range(len(rows)):  # cut cycles at their first row
        seen, at = [], number
        while at >= 0 and at not in seen:
            seen.append(at)
            at = parent[at]
        if at == number and number == min(seen[seen.index(at) :]):
            parent[number] = -1
    numbers: dict[int, tuple[int, int]] = {}

    def walk(number: int, at: int) -> int:
        left = at
        at += 1
        for child in range(len(rows)):
            if parent[child] == number:
                at = walk(child, at)
        numbers[number] = (left, at)
        return at + 1

    at, current = 1, None
    for number, (trace, *_) in enumerate(rows):
        if trace != current:
            at, current = 1, trace
        if parent[number] < 0:
            at = walk(number, at)
    out = []
    for number, (_, _, up, *_) in enumerate(rows):
        above = numbers[parent[number]][0] if parent[number] >= 0 else (0 if up else -1)
        out.append((*numbers[number], above))
    return out


def vectorised(rows: list[Row]) -> list[tuple[int, int, int]]:
    columns = np.array([[*row, 0][:4] for row in rows], np.int64).reshape(-1, 4)
    ids = columns.astype(np.uint64)
    found = nested_set(columns[:, 0], ids[:, 1], ids[:, 2], columns[:, 3])
    return list(zip(found.left.tolist(), found.right.tolist(), found.parent.tolist(), strict=True))


@pytest.mark.parametrize(
    ("rows", "numbers"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([(0, 1, 0)], [(1, 2, -1)], id="one root"),
        pytest.param([(0, 1, 0), (0, 2, 1), (0, 3, 1)], [(1, 6, -1), (2, 3, 1), (4, 5, 1)], id="two children"),
        pytest.param([(0, 1, 0), (0, 2, 9)], [(1, 2, -1), (3, 4, 0)], id="the parent never came"),
        pytest.param([(0, 1, 1)], [(1, 2, 0)], id="its own parent"),
        pytest.param([(0, 1, 2), (0, 2, 1)], [(1, 4, 0), (2, 3, 1)], id="two in a circle"),
        pytest.param([(0, 1, 0), (1, 1, 0), (1, 2, 1)], [(1, 2, -1), (1, 4, -1), (2, 3, 1)], id="two traces"),
        pytest.param([(0, 1, 0), (0, 1, 0), (0, 2, 1)], [(1, 4, -1), (5, 6, -1), (2, 3, 1)], id="an id twice"),
        pytest.param(
            [(0, 1, 0, 3), (0, 1, 0, 2), (0, 2, 1, 3)],
            [(1, 2, -1), (3, 6, -1), (4, 5, 3)],
            id="client and server with one id: the child is the server's",
        ),
    ],
)
def test_numbers(rows: list[Row], numbers: list[tuple[int, int, int]]) -> None:
    """Known trees have known numbers."""
    assert vectorised(rows) == numbers


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 8), st.integers(0, 9), st.integers(1, 3)), max_size=24).map(
        lambda rows: sorted(rows, key=lambda row: row[0])
    )
)
def test_equals_a_walk(rows: list[Row]) -> None:
    """Any links, circles and missing parents among them."""
    present = sorted({trace for trace, *_ in rows})
    rows = [(present.index(trace), *rest) for trace, *rest in rows]
    assert vectorised(rows) == by_walking(rows)


def test_a_chain_of_200000_spans() -> None:
    """Depth costs only its logarithm."""
    count = 200_000
    ids = np.arange(1, count + 1, dtype=np.uint64)
    found = nested_set(np.zeros(count, np.int64), ids, ids - np.uint64(1), np.zeros(count, np.int8))
    assert found.left.tolist() == list(range(1, count + 1))
    assert found.right.tolist() == list(range(2 * count, count, -1))
