"""What the cuts of a partition say together: how far its blocks reach, which they are, and where that is not known."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tables.blocks.cuts import Cut


@dataclass(slots=True)
class Chain:
    """Of one partition of one Kafka cluster.

    start: the first offset that a cut covers. end: the flushed offset, behind the last one that is covered; never
        behind a cut that cannot be read and has no neighbour that says where it ends
    blocks: "<tenant>/<block id>" of those that the cuts name
    gaps: (first, end) of offsets whose cuts are missing or damaged, between others: which blocks they name is not known
    problems: what is wrong with cuts, by the offset where it begins
    open_end: the last cut cannot be read: what lies behind the flushed offset is known to nobody
    """

    start: int
    end: int
    blocks: set[str] = field(default_factory=set)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    open_end: bool = False

    def counts(self, key: str, first_offset: int, last_offset: int) -> bool:
        """Whether readers see a block below the flushed offset.

        They do not see one of a writer whose cut another one has overtaken. Cuts before `start` are deleted with their
        blocks: those that are still there count.
        """
        if last_offset < self.start or key in self.blocks:
            return True
        return any(first <= first_offset and last_offset < end for first, end in self.gaps)

    def problem(self) -> str:
        """Why the partition's blocks may not be all; "" if they are."""
        if not self.gaps and not self.open_end:
            return ""
        return "; ".join(text for _, text in sorted(self.problems.items()))


def chain(entries: Mapping[int, Cut | str]) -> Chain | None:
    """In: each cut by its first offset, or what is wrong with it. Out: None where there are none.

    The cuts of a partition follow each other without a hole. So a neighbour tells where a damaged one ends: the
    flushed offset goes on behind it, since the offsets there were written to blocks and committed. At the end of the
    chain nothing tells that, and it stays in front.
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
    """The next cut does not begin where the one before it ends."""
    begin = found.end
    if first < begin and before is not None:  # its end is wrong
        found.blocks.difference_update(before.blocks)
        begin = before.first_offset
    found.gaps.append((begin, first))
    found.problems[begin] = f"no cut leads from offset {begin} to {first}; was a cuts/… object deleted?"
    found.end = first
