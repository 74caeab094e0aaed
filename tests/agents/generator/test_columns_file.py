"""The journal's bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.generator.series.columns_file import LabelSets, dump, parse
from tables.errors import WireError

LABELS = [(("a", "b"), ("c", "ü")), ()]
TREE = {
    "n": [1, None, "x", {"y": 2.5}],
    "floats": np.array([[1.5, np.nan], [np.inf, -0.0]]),
    "masks": np.array([True, False]),
    "nothing": np.zeros((0, 3), np.int64),
    "first": LabelSets(LABELS),
    "second": LabelSets(LABELS[:1]),
}


def test_round_trip() -> None:
    """Everything comes back; label sets that were one object are one again; arrays can be written to."""
    back = parse(dump(TREE))
    assert back["n"] == TREE["n"]
    for name in ("floats", "masks", "nothing"):
        np.testing.assert_array_equal(back[name], TREE[name])
        assert back[name].dtype == TREE[name].dtype
        back[name][...] = 0
    assert back["first"].many == LABELS
    assert back["first"].many[0] is back["second"].many[0]


@given(st.data())
def test_damage_is_found(data: st.DataObject) -> None:
    """Whatever byte changes, and wherever the file ends."""
    raw = bytearray(dump(TREE))
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[at] ^= data.draw(st.integers(1, 255))
    else:
        del raw[at:]
    with pytest.raises(WireError):
        parse(bytes(raw))
