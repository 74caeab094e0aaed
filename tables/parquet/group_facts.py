"""What the directories of a group's files say about the group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tables.columns import overflow
from tables.parquet.directory import BOUNDED, Bounds, Directory


@dataclass(frozen=True, slots=True, eq=False)
class GroupFacts:
    """What is known of a group after its files were looked into once.

    own: columns that a file has; hidden: those that are nowhere but in the overflow
    bounds: of the columns of BOUNDED. partly_hidden: the columns that some file has in its overflow
    """

    columns: frozenset[str]
    own: frozenset[str]
    hidden: frozenset[str]
    bounds: Mapping[str, Bounds | None]
    partly_hidden: frozenset[str]

    def bounds_of(self, column: str, directories: Sequence[Directory]) -> Bounds | None:
        """No value of a column of integers is less or greater; None where not known. In: as of `group_facts`"""
        if column in self.bounds:
            return self.bounds[column]
        if column in self.partly_hidden:
            return None
        return _joint_bounds([each.bounds_of(column) for each in directories if column in each.numbers])


def group_facts(directories: Sequence[Directory]) -> GroupFacts:
    """In: of each of the files"""
    own: frozenset[str] = frozenset().union(*(directory.numbers for directory in directories))
    hidden: frozenset[str] = frozenset().union(*(directory.hidden for directory in directories))
    bounds = {column: _joint_bounds([directory.bounds.get(column) for directory in directories]) for column in BOUNDED}
    starts, durations = bounds["trace_start_ns"], bounds["trace_duration_ns"]
    if starts is not None and durations is not None:
        # A trace that several files have may last longer than any of its parts.
        latest = max(each.bounds["trace_start_ns"][1] + each.bounds["trace_duration_ns"][1] for each in directories)
        bounds["trace_duration_ns"] = durations[0], max(durations[1], latest - starts[0])
    return GroupFacts(overflow.visible(own, hidden), own, hidden - own, bounds, hidden)


def _joint_bounds(of_files: Sequence[Bounds | None]) -> Bounds | None:
    known = [bounds for bounds in of_files if bounds is not None]
    if len(known) < len(of_files) or not known:
        return None
    return min(low for low, _ in known), max(high for _, high in known)
