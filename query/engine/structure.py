"""Structural operators: how spans of one trace lie to each other, from nested-set numbers.

A span is an ancestor of another when its interval [nested_left, nested_right] contains the other's. Whether any of
many intervals contains a point is a count: those that began before it less those that ended before it. So each
operator is two binary searches in sorted numbers, for all traces at once. Orphans are roots of their own trees.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader
from tables.columns.sorted_sets import union

_MIRRORED = {">": "<", "<": ">", ">>": "<<", "<<": ">>", "~": "~"}


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The spans of one side of an operator.

    rows: ascending; owner: the spanset in which each is to find the others, ascending with the rows' traces
    """

    rows: Rows
    owner: Rows

    def where(self, keep: Mask) -> "Side":
        return Side(self.rows[keep], self.owner[keep])


def related(op: str, left: Side, right: Side, reader: Reader) -> Rows:
    """Rows of `left op right`: those of the right side, of a union (&) those of both sides that take part."""
    plain = op.lstrip("!&")
    if not op.startswith("!"):
        left, right = _meeting(left, right)
    if not len(right.rows) or not len(left.rows):
        return right.rows if op.startswith("!") else right.rows[:0]
    numbers = _Numbers(reader)
    hits = _hits(plain, left, right, numbers)
    if op.startswith("!"):
        return right.rows[~hits]
    if op.startswith("&"):
        others = _hits(_MIRRORED[plain], right, left, numbers)
        return union(right.rows[hits], left.rows[others])
    return right.rows[hits]


def _meeting(left: Side, right: Side) -> tuple[Side, Side]:
    """Both sides without the spansets that the other does not have."""
    return left.where(np.isin(left.owner, right.owner)), right.where(np.isin(right.owner, left.owner))


class _Numbers:
    """Nested-set numbers, made distinct over all spansets."""

    def __init__(self, reader: Reader) -> None:
        self.left = reader.numbers("nested_left")
        self.right = reader.numbers("nested_right")
        self.parent = reader.numbers("nested_parent")
        bounds = reader.bounds("nested_right")
        self.step = (int(self.right.max()) if bounds is None else bounds[1]) + 1

    def keys(self, numbers: npt.NDArray[np.int32], side: Side) -> Rows:
        result: Rows = side.owner * self.step + numbers[side.rows]
        return result

    def parents(self, side: Side) -> tuple[Rows, Mask]:
        """Keys of the parents, and which rows have one."""
        return self.keys(self.parent, side), self.parent[side.rows] > 0


def _hits(op: str, left: Side, right: Side, numbers: _Numbers) -> Mask:
    """For each row of the right side whether the left side has a row of which it is child, parent … ."""
    match op:
        case ">":
            parents, has = numbers.parents(right)
            return has & (_between(np.sort(numbers.keys(numbers.left, left)), parents, parents) > 0)
        case "<":
            parents, has = numbers.parents(left)
            own = numbers.keys(numbers.left, right)
            return _between(np.sort(parents[has]), own, own) > 0
        case ">>":
            own = numbers.keys(numbers.left, right)
            begun = np.searchsorted(np.sort(numbers.keys(numbers.left, left)), own)
            ended = np.searchsorted(np.sort(numbers.keys(numbers.right, left)), own)
            return np.asarray(begun > ended)
        case "<<":
            lefts = np.sort(numbers.keys(numbers.left, left))
            own = numbers.keys(numbers.left, right)
            return _between(lefts, own + 1, numbers.keys(numbers.right, right)) > 0
        case _:
            parents, has = numbers.parents(left)
            wanted, wanted_has = numbers.parents(right)
            siblings = _between(np.sort(parents[has]), wanted, wanted)
            # A span is not its own sibling.
            return wanted_has & (siblings > np.isin(right.rows, left.rows, assume_unique=True))


def _between(ordered: Rows, least: Rows, greatest: Rows) -> npt.NDArray[np.int64]:
    """How many of the ordered numbers lie between two bounds, both included."""
    count: npt.NDArray[np.int64] = np.searchsorted(ordered, greatest, side="right") - np.searchsorted(ordered, least)
    return count
