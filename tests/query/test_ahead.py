"""What is begun to be read before a scan comes to it."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from query.scan.ahead import Upcoming
from query.scan.pieces import Piece


@dataclass
class Noted:
    """A reader that notes what it is to begin with. bounds_ns: when its traces begin"""

    bounds_ns: tuple[int, int] | None
    begun: list[str] = field(default_factory=list)
    read_columns: dict[str, None] = field(default_factory=dict)
    described: bool = False

    def bounds(self, _: str) -> tuple[int, int] | None:
        return self.bounds_ns

    def trace_period(self) -> None:
        return None

    def begin_description(self) -> None:
        self.described = True

    def begin_evaluation(self, columns: Any, *, about_traces: bool) -> None:
        self.begun.append(",".join(sorted(columns)))

    def read_ahead(self, like: "Noted") -> None:
        self.begun.append(",".join(sorted(like.read_columns)))


def pieces_of(latest: list[int], bounds_ns: tuple[int, int] | None = None) -> tuple[list[Piece], list[Noted]]:
    readers = [Noted(bounds_ns) for _ in latest]
    pieces = [
        Piece(at, lambda: 0, False, lambda: (cast("Any", None), None), cast("Any", one))
        for at, one in zip(latest, readers, strict=True)
    ]
    return pieces, readers


@pytest.mark.parametrize(
    ("latest", "bounds_ns", "begun"),
    [
        ([100, 99, 98, 97], (0, 100), 3),  # the files of a block; no more than are read ahead at first
        ([100, 60, 40, 39], (0, 100), 2),
        ([100, 40, 99], (0, 100), 1),  # an older one comes first
        ([100, 100, 99], None, 2),
        ([100], (0, 100), 1),
    ],
)
def test_what_is_as_new_as_the_first_begins_with_it(
    latest: list[int], bounds_ns: tuple[int, int] | None, begun: int
) -> None:
    pieces, readers = pieces_of(latest, bounds_ns)
    upcoming = Upcoming(pieces, ["name"], about_traces=True)
    assert [one.begun for one in readers] == [["name"]] * begun + [[]] * (len(latest) - begun)
    readers[0].read_columns = {"kind": None}
    upcoming.evaluated(1, lambda _: True)
    for number, one in enumerate(readers[begun:], begun):
        assert one.begun == (["kind"] if number < 3 else [])
    assert all(len(one.begun) <= 1 for one in readers)


def test_one_was_not_enough() -> None:
    """Then what the others have is begun to be read of all that the answer may need."""
    pieces, readers = pieces_of([100, 60, 50, 40, 30, 20])
    upcoming = Upcoming(pieces, ["name"], about_traces=True)
    assert not any(one.described for one in readers)
    upcoming.evaluated(1, lambda piece: piece.latest_ns >= 30)
    assert [one.described for one in readers] == [False, False, False, True, True, False]
