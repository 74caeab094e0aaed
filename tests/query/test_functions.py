"""The tables of functions: each entry has all that a function needs, and nothing is done by default."""

import re
from pathlib import Path

import numpy as np
import pytest

from query.functions.aggregates import AGGREGATES, Runs
from query.functions.metrics import CELL_KINDS, METRICS_FUNCTIONS
from query.language.functions import FUNCTIONS

GOLDEN = [path.read_text() for path in Path(__file__).parent.glob("testdata/*.test")]
DOC = (Path(__file__).parents[2] / "docs" / "traceql.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_a_golden_line_and_a_line_of_docs(name: str) -> None:
    """A query that calls it, with an answer below; and its name, as code, in docs/traceql.md."""
    call = re.compile(rf"^(query|range|instant) .*\b{name}\([^\n]*\n  (?!nothing|\d+:\d+:)", re.MULTILINE)
    assert any(call.search(text) for text in GOLDEN), f"no golden line asks for {name}() and gets an answer"
    assert re.search(rf"`[^`\n]*\b{name}\(", DOC), f"docs/traceql.md does not explain {name}()"


@pytest.mark.parametrize("aggregate", AGGREGATES.values(), ids=AGGREGATES)
def test_kernels_of_aggregates(aggregate) -> None:
    """A number for each spanset, whatever the type of the numbers."""
    for numbers in (np.array([3, -1, 7]), np.array([0.5, 2.0, -1.0])):
        runs = Runs(numbers, np.array([0, 2]), np.array([2, 1]))
        found, valid = aggregate.kernel(runs)
        assert (found.shape, valid.tolist()) == ((2,), [True, True])
        assert found.dtype in {np.dtype(np.int64), np.dtype(np.float64)}
    assert aggregate.doc


@pytest.mark.parametrize("function", METRICS_FUNCTIONS.values(), ids=METRICS_FUNCTIONS)
def test_kernels_of_metrics_functions(function) -> None:
    """Cells that are added up, empty ones with them, are those of all spans; samples are made of them."""
    cell, numbers = np.array([0, 0, 1]), np.array([3.0, -1.0, 7.0])
    assert set(function.cells) <= set(CELL_KINDS)
    cells = {}
    for kind in function.cells:
        whole = CELL_KINDS[kind].fill(cell, numbers, 3)
        parts = [CELL_KINDS[kind].fill(cell[some], numbers[some], 3) for some in (slice(0, 1), slice(1, 3))]
        merged = CELL_KINDS[kind].merge(np.full(3, CELL_KINDS[kind].empty), CELL_KINDS[kind].merge(*parts))
        np.testing.assert_array_equal(merged, whole)
        cells[kind] = whole
    assert function.samples(cells, 10**9).shape == (3,)
    assert function.doc
