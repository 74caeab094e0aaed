"""The one loop over the sources of a question. Searches, metrics and tags are folds over it (docs/adr/0015-scan.md).

A scan leaves out the sources that the time range excludes, finds the traces that several sources share and stitches
them where the question is about whole traces, and gives the pieces to a fold, one after the other. It asks between
pieces whether anybody still waits, and counts what was worked on.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from query import memory
from query.errors import QueryCancelled
from query.results import Inspected
from query.scan.ahead import Upcoming, begin_descriptions, with_rows_ahead
from query.scan.arrays import Ids, Mask
from query.scan.pieces import NO_IDS, Piece, single_pieces, whole_pieces
from query.scan.profile import Profile
from query.scan.reader import Reader
from query.scan.source import Source
from query.scan.stitch import ids_in_several, rows_of_traces
from query.scan.trace_lookup import with_traces_ahead
from query.scan.window import Window
from tables.columns.sorted_sets import is_among, unique

# What an evaluation makes of each row besides columns: masks, numbers of spansets and of the nested set, some at once.
_ROW_BYTES: Final = 64

Order = Callable[[Piece], int]


def newest_traces_first(piece: Piece) -> int:
    """By the latest start of a trace: what a search ends early with."""
    return -piece.latest_ns


def newest_spans_first(piece: Piece) -> int:
    """By the latest start of a span: so the latest samples of a series are known first."""
    return -piece.latest_span_ns()


def stitched_first(piece: Piece) -> int:
    """For folds that read more of the spans of stitched traces where they rest: then each source is read once."""
    return not piece.stitched


@dataclass(frozen=True, slots=True, eq=False)
class ScanPlan:
    """What a question asks of the sources.

    columns: all that the evaluation may read of stitched traces, where a source has them
    whole_traces: a trace whose spans lie in several sources must be stitched first
    elsewhere: ids, ascending, of traces of which other workers have spans, too. Where traces must be whole their rows
        are left out of the evaluation: `Scan.shared_rows` gives them to the worker that merges
    evaluates: the fold looks at every row, which takes memory
    counts_traces: how many traces the sources have is part of the answer's statistics
    sorts: the fold needs the rows of each source in order; no: perhaps not of all
    ends_early: perhaps it needs few of the sources
    """

    window: Window
    columns: frozenset[str] = frozenset()
    whole_traces: bool = False
    elsewhere: Ids = field(default_factory=lambda: NO_IDS)
    evaluates: bool = True
    counts_traces: bool = True
    sorts: bool = True
    ends_early: bool = False

    @property
    def leaves_out(self) -> Ids:
        """The traces that the merging worker evaluates. Where single spans decide, each is evaluated where it lies."""
        return self.elsewhere if self.whole_traces or self.window.about_traces else NO_IDS


class Fold(Protocol):
    """What a question makes of the pieces."""

    def add_piece(self, reader: Reader, among: Mask | None) -> bool:
        """Takes in the rows of a piece; among: those that count (None: all). Out: whether it needs the reader later."""
        ...

    def ends_before(self, piece: Piece, left: int) -> bool:
        """Called between pieces, to report what is known already. Out: whether the answer needs no more pieces.

        piece: the next one; left: how many there are, with it
        """
        ...

    def may_need(self, piece: Piece) -> bool:
        """Whether the answer may depend on one of the next pieces, so that it is worth reading ahead."""
        ...


class Scan:
    """One question's pass over its sources. Belongs to one thread."""

    def __init__(
        self, sources: Sequence[Source], plan: ScanPlan, cancelled: Callable[[], bool], profile: Profile
    ) -> None:
        self.plan, self.profile = plan, profile
        self.readers = []
        begin_descriptions(sources, all_of_them=not plan.ends_early)
        for source in with_rows_ahead(sources, sorts=plan.sorts):
            reader = Reader(source)
            if reader.rows_max:
                reader.load(sorts=plan.sorts)
                self.readers.append(reader)
        self._cancelled = cancelled
        self._evaluated: list[Reader] = []
        self._unneeded = self._read_bytes = 0
        with profile.stage("find shared traces"):
            self._pieces = self._split()

    def run(self, fold: Fold, order: Order) -> None:
        """Gives the fold each piece, in that order. Raises: QueryCancelled, OSError, memory.MemoryExceeded"""
        pieces, budget = sorted(self._pieces, key=order), memory.current()
        upcoming = Upcoming(pieces, self.plan.columns, about_traces=self.plan.window.about_traces)
        for done, piece in enumerate(pieces, 1):
            self.check_cancelled()
            reader, among = self._open(piece)
            self.count(reader)
            needed = self._add(fold, reader, among)
            self._read_bytes += reader.bytes_read
            budget.check_read(self._read_bytes)
            if needed:
                reader.forget()
            else:
                reader.discard()
            if done < len(pieces) and fold.ends_before(pieces[done], len(pieces) - done):
                self._unneeded = sum(not piece.stitched for piece in pieces[done:])
                break
            upcoming.evaluated(done, fold.may_need)

    def _open(self, piece: Piece) -> tuple[Reader, Mask | None]:
        if not piece.stitched:
            return piece.open()
        with self.profile.stage("put traces together"):
            return piece.open()

    def _add(self, fold: Fold, reader: Reader, among: Mask | None) -> bool:
        with self.profile.source(reader):
            if not self.plan.evaluates:
                return fold.add_piece(reader, among)
            with memory.current().scratch(_ROW_BYTES * reader.rows_max, f"the evaluation of {reader.rows_max} spans"):
                return fold.add_piece(reader, among)

    def check_cancelled(self) -> None:
        """Raises: QueryCancelled: nobody waits for the answer any more"""
        if self._cancelled():
            raise QueryCancelled

    def count(self, reader: Reader) -> None:
        """Counts the source among those that were worked on."""
        self._evaluated.append(reader)

    def inspected(self, left: int = 0) -> Inspected:
        """How much work it took until now. left: pieces that are not looked at yet"""
        return Inspected(
            traces=sum(reader.trace_count() for reader in self._evaluated) if self.plan.counts_traces else 0,
            spans=sum(reader.rows_max for reader in self._evaluated),
            bytes=sum(reader.bytes_read for reader in {*self.readers, *self._evaluated}),
            sources=len(self._evaluated),
            left=left,
        )

    def finish(self) -> Inspected:
        """Fills the profile. Out: how much work it all took. Raises: memory.ReadsTooMuch"""
        self.profile.finish(self.readers, self._evaluated, self._unneeded)
        inspected = self.inspected()
        memory.current().check_read(inspected.bytes)
        return inspected

    def shared_rows(self, columns: Iterable[str] | None) -> pa.Table | None:
        """All rows of the traces that the plan leaves out, with what stitching needs and some columns (None: with all);
        None: there are no such rows here. Raises: OSError, memory.MemoryExceeded
        """
        return rows_of_traces(self.readers, self.plan.leaves_out, columns)

    def _split(self) -> list[Piece]:
        plan, elsewhere = self.plan, self.plan.leaves_out
        inside = [plan.window.may_hold(reader) for reader in self.readers]
        shared = NO_IDS
        if plan.whole_traces or (plan.window.about_traces and not all(inside)):
            shared = shared_ids(self.readers)
            if len(elsewhere):
                shared = shared[~is_among(shared, elsewhere)]
        if plan.whole_traces:
            return whole_pieces(self.readers, shared, plan.columns, inside, elsewhere)
        return single_pieces(self.readers, inside, shared, elsewhere)


def shared_ids(readers: Sequence[Reader]) -> Ids:
    """The ids, ascending, of the traces that more than one of the sources has."""
    return ids_in_several([reader.traces().ids for reader in with_traces_ahead(readers)])


def trace_ids(sources: Sequence[Source]) -> Ids:
    """The ids of all traces of some sources, each once, ascending. `stitch.ids_in_several` tells from those of each
    worker which traces several workers have.
    """
    return unique(np.concatenate([NO_IDS, *(source.traces().ids for source in sources if source.rows)]))
