"""Columns that few rows have something in, joined and moved, are those of the joined and moved values."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.merge.columns import Part, joined
from tables.merge.moved import Moved

VALUES = {
    "span.n:int": (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "span.x:double": (pa.float64(), st.floats(allow_nan=False)),
    "span.b:bool": (pa.bool_(), st.booleans()),
    "span.k": (pa.string(), st.sampled_from(["", "a", "ä" * 30])),
}


@pytest.mark.parametrize("name", VALUES)
@given(data=st.data())
def test_values_are_the_same(name: str, data: st.DataObject) -> None:
    """Of inputs with few values or many, sliced or not; rows change places, and some are left out."""
    type_, values = VALUES[name]
    parts, wanted = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        rows = data.draw(st.integers(1, 30))
        columns: dict[str, Any] = {"trace_id": pa.nulls(rows, pa.binary(16))}
        column = [None] * rows
        if data.draw(st.integers(0, 4)):
            few = st.one_of(*[st.none()] * data.draw(st.sampled_from([0, 3, 9])), values)
            column = data.draw(st.lists(few, min_size=rows, max_size=rows))
            columns[name] = (
                pa.array([None, *column], type_)[1:] if data.draw(st.booleans()) else pa.array(column, type_)
            )
        parts.append(Part(columns, whole=True))
        wanted += column
    if not any(name in part.columns for part in parts):
        return
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(wanted))
    order = order[: data.draw(st.integers(0, len(order)))] if data.draw(st.booleans()) else order
    found = joined(name, parts, Moved(order, len(wanted)))
    found.validate(full=True)
    assert found.type == type_
    assert found.to_pylist() == [wanted[row] for row in order.tolist()]
