"""Facts about traces: numpy over rows in which each trace lies together."""

import numpy as np
import numpy.typing as npt

from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader


def trace_numbers(offsets: Rows) -> Rows:
    """For each row the number of its trace."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def traces_with(mask: Mask, offsets: Rows) -> Mask:
    """For each trace whether any of its rows is in the mask."""
    found = np.zeros(len(offsets) - 1, bool)
    found[np.searchsorted(offsets, np.flatnonzero(mask), side="right") - 1] = True
    return found


def both(left: Mask, right: Mask, offsets: Rows) -> Mask:
    """`{ left } && { right }`: the rows of either in the traces that have both."""
    keep = traces_with(left, offsets) & traces_with(right, offsets)
    return (left | right) & np.repeat(keep, np.diff(offsets))


def child_counts(reader: Reader) -> npt.NDArray[np.int64]:
    """For each row how many spans of its trace name it as their parent."""
    offsets = reader.traces().offsets
    # nested_left of a trace of n spans is below 2n + 1: this makes the numbers of all traces distinct.
    base = np.repeat(2 * offsets[:-1], np.diff(offsets))
    parent = reader.numbers("nested_parent")
    counts = np.bincount((base + parent)[parent > 0], minlength=2 * reader.rows + 2)
    result: npt.NDArray[np.int64] = counts[base + reader.numbers("nested_left")]
    return result
