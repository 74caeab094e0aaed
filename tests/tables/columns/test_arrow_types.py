"""Types that are alike: the same shape, whatever the caller says of what is in it."""

from operator import eq
from typing import Any

import pyarrow as pa
import pytest

from tables.columns.arrow_types import alike

TEXTS = pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize(
    ("type_", "wanted", "expected"),
    [
        (pa.string(), pa.string(), True),
        (pa.string(), TEXTS, False),
        (pa.list_(pa.field("element", pa.string(), nullable=False)), pa.list_(pa.string()), True),
        (pa.list_(TEXTS), pa.list_(pa.string()), False),
        (pa.string(), pa.list_(pa.string()), False),
        (pa.list_(pa.string()), pa.string(), False),
        (pa.struct({"a": pa.int64()}), pa.struct({"a": pa.int64()}), True),
        (pa.struct({"a": pa.int64()}), pa.struct({"b": pa.int64()}), False),
        (pa.struct({"a": pa.int64(), "b": pa.int64()}), pa.struct({"a": pa.int64()}), False),
        (pa.list_(pa.struct({"a": pa.list_(pa.int8())})), pa.list_(pa.struct({"a": pa.list_(pa.int16())})), False),
        (pa.int64(), pa.struct({"a": pa.int64()}), False),
    ],
)
def test_alike(type_: Any, wanted: Any, expected: bool) -> None:
    assert alike(type_, wanted, eq) == expected


def test_what_is_the_same_says_the_caller() -> None:
    def by_value(type_: Any, wanted: Any) -> bool:
        return bool((type_.value_type if pa.types.is_dictionary(type_) else type_) == wanted)

    assert alike(pa.list_(pa.struct({"a": TEXTS})), pa.list_(pa.struct({"a": pa.string()})), by_value)
    assert not alike(pa.list_(pa.struct({"a": TEXTS})), pa.list_(pa.struct({"a": pa.binary()})), by_value)
