"""The order of merged rows. Whole traces are moved; only traces that several inputs have are sorted row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tables.columns.arrays import big_endian, numbers, ranges
from tables.columns.trace_index import trace_index
from tables.columns.types import Bools, Int64s, UInt64s
from tables.columns.whole_traces import SortKeys, equal_to_previous, suspects
from tables.merge.columns import Part, concatenated
from tables.merge.moved import Moved


@dataclass(slots=True, eq=False)
class RowOrder:
    """How rows of several parts, one below the other, are sorted.

    rows: the old row of each new row
    starts: the first new row of each trace, and the number of rows
    joined: whether a trace's rows were in several parts, or in no order: its facts are to be made anew
    keys: what rows are sorted by, in the old order
    """

    rows: Int64s
    starts: Int64s
    joined: Bools
    keys: SortKeys

    def suspects(self) -> tuple[Int64s, Int64s]:
        """New rows that may be equal to others, and for each the number of the group that these are."""
        return suspects(equal_to_previous(self.keys, self.rows))

    def drop(self, left_out: Int64s) -> None:
        """Leaves out new rows; the facts of their traces are to be made anew."""
        keep = np.ones(len(self.rows), np.bool_)
        keep[left_out] = False
        traces = np.searchsorted(self.starts, left_out, side="right") - 1
        self.joined[traces] = True
        self.starts = np.r_[0, np.cumsum(np.add.reduceat(keep.astype(np.int64), self.starts[:-1]))]
        self.rows = self.rows[keep]


def row_order(parts: Sequence[Part]) -> RowOrder:
    """The order by trace id, start, span id, kind, parent and duration."""
    keys = sort_keys(parts)
    ids, firsts, lengths = _traces(parts)
    order = _by_id(ids)
    ids, lengths = ids[order], lengths[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    rows = ranges(firsts[order], lengths)
    begins = np.flatnonzero(new)
    joined = np.diff(np.r_[begins, len(new)]) > 1
    starts = np.r_[0, np.cumsum(lengths)][np.r_[begins, len(new)]]
    joined |= _unsorted(keys, rows, starts)
    found = RowOrder(rows, starts, joined, keys)
    if joined.any():
        _sort_joined(found)
    return found


def sort_keys(parts: Sequence[Part]) -> SortKeys:
    """What rows are sorted by."""
    ids = {name: big_endian(concatenated(name, parts)) for name in ("trace_id", "span_id", "parent_span_id")}
    values = {name: numbers(concatenated(name, parts)) for name in ("start_ns", "kind", "duration_ns")}
    return SortKeys(
        trace_id=ids["trace_id"],
        span_id=ids["span_id"][:, 0],
        parent_id=ids["parent_span_id"][:, 0],
        start_ns=values["start_ns"],
        kind=values["kind"],
        duration_ns=values["duration_ns"],
    )


def _traces(parts: Sequence[Part]) -> tuple[UInt64s, Int64s, Int64s]:
    """Id, first row and number of rows of each trace of each part."""
    ids, firsts, lengths, base = [], [], [], 0
    for part in parts:
        index = trace_index(part.columns["trace_id"])
        ids.append(np.ascontiguousarray(index.ids).view(">u8").astype(np.uint64).reshape(-1, 2))
        firsts.append(index.offsets[:-1] + base)
        lengths.append(np.diff(index.offsets))
        base += part.rows
    return np.concatenate(ids), np.concatenate(firsts), np.concatenate(lengths)


def _by_id(ids: UInt64s) -> Int64s:
    high = ids[:, 0]
    # Stable, as it finds the runs that the parts are.
    order: Int64s = np.argsort(high, kind="stable")
    ordered = high[order]
    if bool((ordered[1:] == ordered[:-1]).any()):
        order = np.lexsort((ids[:, 1], high))
    return order


def _unsorted(keys: SortKeys, rows: Int64s, starts: Int64s) -> Bools:
    """Which traces have rows that are not in order."""
    bad = keys.descents(rows)
    bad[starts[:-1]] = False
    at = np.flatnonzero(bad)
    out = np.zeros(len(starts) - 1, np.bool_)
    out[np.searchsorted(starts, at, side="right") - 1] = True
    return out


def _sort_joined(found: RowOrder) -> None:
    lengths = np.diff(found.starts)[found.joined]
    places = ranges(found.starts[:-1][found.joined], lengths)
    trace = np.repeat(np.arange(len(lengths)), lengths)
    rows = found.rows[places]
    found.rows[places] = rows[found.keys.order(rows, trace)]


def moved(rows: Int64s, total: int) -> Moved | None:
    """The order of rows; None: they stay where they are."""
    stay = len(rows) == total and bool((rows[1:] > rows[:-1]).all())
    return None if stay else Moved(rows, total)
