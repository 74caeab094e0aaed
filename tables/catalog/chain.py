"""The chain of cuts of a partition: how far its blocks reach, which blocks these are, and where that is unknown."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final

from tables.catalog.cuts import Cut

_NO_END: Final = 2**63 - 1


@dataclass(slots=True)
class Chain:
    """The cuts of one partition of one Kafka cluster.

    start: the first offset that a known cut covers. What lies below is in the tenants' indexes
    end: the flushed offset, after the last covered offset. It never lies beyond an unreadable cut whose end no
    neighbour shows
    cuts: by first offset, ascending
    tenants: for each tenant with blocks below `start`, the end of the last cut that names one: its index must reach so
    far
    gaps: (first, end) of offsets whose cuts are missing or damaged, between other cuts: their blocks are unknown
    problems: problems with cuts, by first offset
    open_end: the last cut cannot be read, so the real flushed offset is unknown
    """

    start: int
    end: int
    cuts: dict[int, Cut] = field(default_factory=dict)
    tenants: dict[str, int] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    open_end: bool = False

    @property
    def list_from(self) -> int:
        """From which offset on cuts may appear that are not known: the first problem, or the flushed offset."""
        return min(self.problems, default=self.end)

    @property
    def blocks(self) -> set[str]:
        """The blocks that the known cuts name, each as "<tenant>/<block id>"."""
        return {key for cut in self.cuts.values() for key in cut.blocks}

    def sure_end(self, after: int = 0) -> int:
        """The end of the offsets from `after` on whose blocks are all known: the first gap, or the flushed offset."""
        return min((first for first, end in self.gaps if end > after), default=self.end)

    def unnamed(self, *, end_too: bool) -> list[tuple[int, int]]:
        """(first, end) of offsets whose blocks no readable cut names.

        end_too: also those after the flushed offset, if the last cut cannot be read
        """
        return [*self.gaps, *([(self.end, _NO_END)] if self.open_end and end_too else [])]

    def problem(self, after: int = 0) -> str:
        """Why the known blocks at offsets from `after` on may be incomplete; "" if they are complete."""
        if not self.open_end and all(end <= after for _, end in self.gaps):
            return ""
        return "; ".join(text for _, text in sorted(self.problems.items()))

    def covered_cuts(self, covers: Callable[[str, int], bool]) -> Iterator[Cut]:
        """The cuts from `start` on whose blocks are all in indexes. covers: (tenant, end) → whether its index reaches
        so far
        """
        sure_end = self.sure_end()
        for first, cut in self.cuts.items():
            if first >= sure_end or not all(covers(key.rpartition("/")[0], cut.end) for key in cut.blocks):
                return
            yield cut

    def without(self, covered: list[Cut]) -> None:
        """Forgets the first cuts, whose blocks are in indexes."""
        for cut in covered:
            del self.cuts[cut.first_offset]
            self.start = cut.end
            self.tenants.update((key.rpartition("/")[0], cut.end) for key in cut.blocks)


def chain(
    entries: Mapping[int, Cut | str],
    start: int | None = None,
    tenants: Mapping[str, int] | None = None,
    known_end: int = 0,
) -> Chain | None:
    """The chain of a partition; None if nothing is known of it. In: each cut by its first offset, or its problem

    start, tenants: of the chain; cuts before `start` are left out. None: it starts with the first cut
    known_end: an offset at which a cut ended, as an index says

    The cuts of a partition follow each other without a gap. So the next cut shows where a damaged one ends, and the
    flushed offset continues after it: the offsets there were written to blocks and committed. A damaged last cut has no
    such neighbour, and the flushed offset stays before it.
    """
    firsts = sorted(first for first in entries if start is None or first >= start)
    if start is None and not firsts and not known_end:
        return None
    begin = start if start is not None else firsts[0] if firsts else known_end
    found = Chain(begin, begin, tenants=dict(tenants or {}))
    last_cut: Cut | None = None
    for first, after in zip_longest(firsts, firsts[1:]):
        if first != found.end:
            _gap(found, first, last_cut)
        entry = entries[first]
        if isinstance(entry, Cut):
            last_cut = found.cuts[first] = entry
            found.end = entry.end
            continue
        last_cut = None
        found.problems[first] = entry
        next_end = after if after is not None else known_end
        if next_end > first:
            found.gaps.append((first, next_end))
        else:
            found.open_end = True
        found.end = max(first, next_end)
    if known_end > found.end:
        _gap(found, known_end, None)
    return found


def _gap(found: Chain, first: int, before: Cut | None) -> None:
    """Records a gap: the next cut does not begin where the one before it ends."""
    begin = found.end
    if first < begin and before is not None:  # its end is wrong
        del found.cuts[before.first_offset]
        begin = before.first_offset
    found.gaps.append((begin, first))
    found.problems[begin] = f"no cut leads from offset {begin} to {first}; was a cuts/… object deleted?"
    found.end = first
