"""Grafana Tempo's recorded answers about 3,121 spans, asked of the engine itself."""

import numpy as np
import pyarrow as pa
import pytest

from query.errors import TraceQLError
from query.memory import TableSource
from query.search import search
from query.stitch import whole
from tests.helpers.otlp_rows import read_messages, span_table
from tests.helpers.reference import answered, cases, recorded, reference_file


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return span_table(read_messages(reference_file("spans.otlp.bin")))


@pytest.mark.parametrize("parts", [1, 4], ids=["one source", "every trace in four sources"])
def test_recorded_searches(table: pa.Table, parts: int) -> None:
    """Every recorded search answers as Tempo did."""
    number = np.random.default_rng(1).integers(0, parts, table.num_rows)
    sources = [TableSource(whole(table.filter(pa.array(number == part)))) for part in range(parts)]
    different = set()
    for case in cases("search"):
        params = case["params"]
        window = {"start_ns": params["start"] * 10**9, "end_ns": params["end"] * 10**9}
        limits = {"limit": params["limit"], "spans_per_span_set": params["spss"]}
        try:
            same = answered(search(sources, params["q"], **window, **limits)) == recorded(case["body"])
        except TraceQLError:
            same = case["status"] == 400
        if not same:
            different.add(case["n"])
    assert not different
