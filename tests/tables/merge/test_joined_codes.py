"""Codes of several inputs, joined and moved, are those of the joined and moved texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.merge.codes import joined_codes, without_unused
from tables.merge.inputs import narrow
from tables.merge.moved import Moved

_LENGTHS = st.integers(0, 40)


@st.composite
def inputs(draw: st.DrawFn) -> list[tuple[Any | None, int]]:
    """Parts of columns, with few nulls or many, with the same dictionary or others; None: an input has no column."""
    random = np.random.default_rng(draw(st.integers(0, 999)))
    shared = pa.array([f"{number}" for number in range(draw(st.sampled_from([1, 2, 130, 300])))])
    made: list[tuple[Any | None, int]] = []
    for _ in range(draw(st.integers(1, 4))):
        rows = draw(_LENGTHS)
        if draw(st.integers(0, 4)) == 0:
            made.append((None, rows))
            continue
        values = shared if draw(st.booleans()) else pa.array(draw(st.lists(st.sampled_from("abcd"), min_size=1)))
        mask = random.random(rows + 3) < draw(st.sampled_from([0, 0.5, 0.97, 1]))
        codes = pa.array(random.integers(0, len(values), rows + 3).astype(np.int32), mask=mask)
        array = pa.DictionaryArray.from_arrays(codes, values)
        made.append((narrow(array.slice(3)) if draw(st.booleans()) else narrow(array).slice(3), rows))
    if all(array is None for array, _ in made):
        made.append((pa.array(["x"] * 2).dictionary_encode(), 2))
    return made


def decoded(some: Sequence[tuple[Any | None, int]], absent: str | None) -> list[str | None]:
    found: list[str | None] = []
    for array, rows in some:
        found += [None] * rows if array is None else array.to_pylist()
    return [absent if one is None else one for one in found]


@given(inputs(), st.sampled_from([None, "", "a"]), st.data())
def test_texts_are_the_same(some: list[tuple[Any | None, int]], absent: str | None, data: st.DataObject) -> None:
    """Rows stay, change places, or are left out."""
    texts = decoded(some, absent)
    order = None
    if data.draw(st.booleans()):
        rows = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(texts))
        rows = rows[: data.draw(st.integers(0, len(rows)))] if data.draw(st.booleans()) else rows
        order = Moved(rows, len(texts))
        texts = [texts[row] for row in rows.tolist()]
        places = order.places()
        assert (places[rows] == np.arange(len(rows))).all()
        assert (places >= 0).sum() == len(rows)
    found = joined_codes([array for array, _ in some], [rows for _, rows in some], order, absent)
    found.validate(full=True)
    assert found.to_pylist() == texts
    assert found.equals(narrow(found))
    if len(found) > found.null_count:
        used = without_unused(found)
        assert used.to_pylist() == texts
        assert set(used.dictionary.to_pylist()) == set(texts) - {None}


@pytest.mark.parametrize("values", [1, 2, 200, 40_000])
def test_values_that_come_late_are_kept(values: int) -> None:
    """Some rows show most values; others are looked for."""
    codes = np.zeros(100_000, np.int32)
    codes[-values:] = np.arange(values)
    array = narrow(pa.DictionaryArray.from_arrays(pa.array(codes), pa.array([str(n) for n in range(values + 7)])))
    assert without_unused(array).dictionary.to_pylist() == [str(number) for number in range(values)]
