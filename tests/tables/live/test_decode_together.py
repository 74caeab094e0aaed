"""Records that are decoded together are what each is by itself, whoever wrote them."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.errors import WireError
from tables.live.decode_together import decode_together
from tables.wire import record
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import DECODER, request, span
from tests.helpers.receiving.foreign_records import WRONG, batch, value_of

GOOD = [
    value_of(batch()),
    value_of(batch(), old_form=True),
    value_of(batch().append_column("raw", pa.array([b"x", b"y"]))),
    *(
        record.encode(DECODER.decode([request([span(number, trace_state=state)])]).spans)[0]
        for number, state in ((1, ""), (2, "a=b"), (3, ""))
    ),
]
WRONG_IN_OLD_FORM = [
    value_of(batch().set_column(batch().schema.get_field_index(name), name, column), old_form=True)
    for name, column in (("name", pa.array([1, 2])), ("start_ns", pa.array(["1", "2"])))
]


def rows(batches: list[pa.RecordBatch]) -> Counter[str]:
    return Counter(str(row) for one in batches for row in one.to_pylist())


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.sampled_from([*GOOD, *GOOD, *GOOD, *WRONG.values(), *WRONG_IN_OLD_FORM]), max_size=12))
def test_as_each_alone(values: list[bytes]) -> None:
    """The same rows, and the same records are refused: also those whose nulls are seen only when they are joined."""
    wanted, faults = [], {}
    for number, value in enumerate(values):
        try:
            wanted.append(record.decode(value))
        except WireError as err:
            faults[number] = str(err)
    batches, problems = decode_together(values)
    assert rows(batches) == rows(wanted)
    assert {number: str(err) for number, err in problems.items()} == faults


def test_types_are_checked_where_streams_begin_alike() -> None:
    """In the old form of Arrow's streams the first bytes do not say where the schema ends."""
    assert not decode_together([value_of(batch(), old_form=True)])[1]
    _, problems = decode_together(WRONG_IN_OLD_FORM)
    assert sorted(problems) == [0, 1]


def test_it_asks_whether_to_go_on() -> None:
    class EnoughError(Exception):
        pass

    def stop() -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        decode_together(GOOD, stop)
