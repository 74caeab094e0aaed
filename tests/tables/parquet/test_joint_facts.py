"""Facts of traces in several files, from what each file says of its part."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.scan.stitch import whole
from tables.columns.arrays import one_array
from tables.parquet.joint_facts import NEEDS, Parts, joint_fact
from tests.helpers.querying.otlp_rows import make_table

SPANS = st.lists(
    st.fixed_dictionaries(
        {
            "trace": st.integers(0, 2),
            "file": st.integers(0, 2),
            "start_ns": st.sampled_from([0, 0, 5, 7, 2**62]),
            "duration_ns": st.sampled_from([0, 3, 2**62]),
            "is_root": st.integers(0, 3).map(lambda number: not number),
            "name": st.sampled_from(["", "GET"]),
            "service": st.sampled_from([None, "a", "b"]),
        }
    ),
    min_size=1,
    max_size=12,
)


def row(number: int, span: dict[str, Any]) -> dict[str, Any]:
    found = {
        "trace_id": bytes([span["trace"]]) * 16,
        "span_id": (number + 1).to_bytes(8, "big"),
        "parent_span_id": bytes(8) if span["is_root"] else bytes([9] * 8),
        "start_ns": span["start_ns"],
        "duration_ns": span["duration_ns"],
        "name": span["name"],
        "resource.service.name": span["service"],
    }
    return {name: value for name, value in found.items() if value is not None}


def parts_of(spans: list[dict[str, Any]]) -> tuple[pa.Table, Parts]:
    """The rows of all files, trace by trace, with the facts that each file says of its part."""
    tables = []
    for file in range(3):
        rows = [row(number, span) for number, span in enumerate(spans) if span["file"] == file]
        if rows:
            table = make_table(rows)
            tables.append(table.append_column("file", pa.array([file] * table.num_rows)))
    order = [("trace_id", "ascending"), ("start_ns", "ascending")]
    table = pa.concat_tables(tables, promote_options="default").sort_by(order)
    ids = table["trace_id"].to_pylist()
    begins = [at for at, one in enumerate(ids) if not at or one != ids[at - 1]]
    return table.combine_chunks(), Parts(np.array([*begins, len(ids)]), table["file"].to_numpy())


@given(spans=SPANS)
def test_they_are_those_of_the_spans(spans: list[dict[str, Any]]) -> None:
    table, parts = parts_of(spans)
    roots = {(span["trace"], span["file"]) for span in spans if span["is_root"]}
    contested = len({trace for trace, _ in roots}) < len(roots)
    made = whole(table)
    for column, needs in NEEDS.items():
        found = joint_fact(column, parts, {name: one_array(table[name]) for name in (column, *needs)})
        if found is None:
            assert contested
            assert column.startswith("root")
        else:
            assert found.to_pylist() == made[column].to_pylist()


@pytest.mark.parametrize("column", ["root_name", "root_service"])
def test_of_several_roots_the_spans_decide(column: str) -> None:
    span = {"trace": 0, "start_ns": 5, "duration_ns": 3, "is_root": True, "name": "GET", "service": "a"}
    table, parts = parts_of([span | {"file": 0}, span | {"file": 1}])
    assert joint_fact(column, parts, {name: one_array(table[name]) for name in ("root_name", "root_service")}) is None
