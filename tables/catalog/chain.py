"""The chain of cuts of a partition: how far its blocks reach, which blocks these are, and where that is unknown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tables.catalog.cuts import Cut


@dataclass(slots=True)
class Chain:
    """The cuts of one partition of one Kafka cluster.

    start: the first offset that a cut covers
    end: the flushed offset, after the last covered offset. It never lies beyond an unreadable cut whose end no
    neighbour shows
    blocks: "<tenant>/<block id>" of the blocks that the cuts name
    gaps: (first, end) of offsets whose cuts are missing or damaged, between other cuts: their blocks are unknown
    problems: problems with cuts, by first offset
    open_end: the last cut cannot be read, so the real flushed offset is unknown
    """

    start: int
    end: int
    blocks: set[str] = field(default_factory=set)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    open_end: bool = False

    def counts(self, key: str, first_offset: int, last_offset: int) -> bool:
        """Whether readers see a block below the flushed offset.

        They do not see a block of a writer whose cut lost against another one. Cuts before `start` are deleted with
        their blocks; such blocks that still exist are visible.
        """
        if last_offset < self.start or key in self.blocks:
            return True
        return any(first <= first_offset and last_offset < end for first, end in self.gaps)

    def problem(self) -> str:
        """Why the known blocks of the partition may be incomplete; "" if they are complete."""
        if not self.gaps and not self.open_end:
            return ""
        return "; ".join(text for _, text in sorted(self.problems.items()))


def chain(entries: Mapping[int, Cut | str]) -> Chain | None:
    """The chain of a partition; None without cuts. In: each cut by its first offset, or the problem with it

    The cuts of a partition follow each other without a gap. So the next cut shows where a damaged one ends, and the
    flushed offset continues after it: the offsets there were written to blocks and committed. A damaged last cut has no
    such neighbour, and the flushed offset stays before it.
    """
    if not entries:
        return None
    firsts = sorted(entries)
    found = Chain(firsts[0], firsts[0])
    last_cut: Cut | None = None
    for first, after in zip(firsts, [*firsts[1:], None], strict=True):
        if first != found.end:
            _gap(found, first, last_cut)
        entry = entries[first]
        if isinstance(entry, Cut):
            last_cut = entry
            found.blocks.update(entry.blocks)
            found.end = entry.last_offset + 1
            continue
        last_cut = None
        found.problems[first] = entry
        if after is None:
            found.open_end = True
        else:
            found.gaps.append((first, after))
        found.end = first if after is None else after
    return found


def _gap(found: Chain, first: int, before: Cut | None) -> None:
    """Records a gap: the next cut does not begin where the one before it ends."""
    begin = found.end
    if first < begin and before is not None:  # its end is wrong
        found.blocks.difference_update(before.blocks)
        begin = before.first_offset
    found.gaps.append((begin, first))
    found.problems[begin] = f"no cut leads from offset {begin} to {first}; was a cuts/… object deleted?"
    found.end = first
