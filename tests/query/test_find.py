"""Where a source has some traces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.scan.arrays import Ids
from query.scan.reader import Reader
from query.scan.trace_lookup import TraceLookup, find
from tables.columns.in_memory import TableSource
from tables.columns.trace_index import TraceIndex
from tests.query.golden import load_table

# Few different halves: ids that begin alike, or, as those of 64 bits, with zeros; bytes that end in zeros.
HALVES = st.sampled_from([bytes(8), b"\0" * 7 + b"\1", b"\1" + bytes(7), b"\xff" * 8, b"abcdefgh"])
IDS = st.sets(st.tuples(HALVES, HALVES).map(b"".join), max_size=12).map(sorted)
LONG = st.sets(st.binary(min_size=16, max_size=16), max_size=40).map(sorted)


def as_ids(raw: list[bytes]) -> Ids:
    return np.array(raw, "S16")


@given(IDS | LONG, IDS | LONG, st.booleans())
def test_find(own: list[bytes], ids: list[bytes], share: bool) -> None:
    """Positions on both sides, ascending, whichever side has more, and whatever the ids begin with."""
    own = sorted({*own, *ids[::2]}) if share else own
    hit, traces = find(TraceIndex(as_ids(own), np.arange(len(own) + 1)), as_ids(ids))
    both = sorted({*own} & {*ids})
    assert [ids[i] for i in hit] == both == [own[i] for i in traces]


@pytest.mark.parametrize("ids", [[], [b"\0" * 15 + b"\1"], [b"\0" * 16, b"\xff" * 16]])
def test_places_are_those_that_find_gives(ids: list[bytes]) -> None:
    """And the same at the second time."""
    reader = Reader(TableSource(load_table("load\n  t1 a\n  t2 b")))
    lookup = TraceLookup(as_ids(ids))
    for _ in range(2):
        found = [part.tolist() for part in lookup.find_in(reader)]
        assert found == [part.tolist() for part in find(reader.traces(), as_ids(ids))]
