"""What the sources that come next will be asked for, begun to be read while others are evaluated."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import takewhile
from typing import Final, cast

from query.scan.pieces import Piece
from query.scan.reader import Reader
from query.scan.source import Describing, RowsAhead, Source, TraceTiming, is_a

# So many of the sources that come next are read at once.
_AHEAD_MAX: Final = 16


class Upcoming:
    """The pieces of a scan, in the order in which it evaluates them.

    What the source of the last one was asked for, those of the next ones will be; if that was nothing, because it lacks
    what the plan names, then what the plan names. At first two are read ahead, then four, then eight: a scan that ends
    early has read little for nothing. Those that are as new as the first one, such as the files of its block, are read
    with it.
    """

    def __init__(self, pieces: Sequence[Piece], columns: Collection[str], *, about_traces: bool) -> None:
        """columns: what the evaluation may read; about_traces: it concerns whole traces"""
        self._pieces, self._begun, self._window, self._described = pieces, 0, 2, False
        self._columns, self._about_traces = columns, about_traces
        if pieces:
            self._begin(pieces[0].reader)
            since_ns = _middle_ns(pieces[0])
            beside = list(takewhile(lambda piece: piece.latest_ns >= since_ns, pieces[1 : 1 + self._window]))
            for piece in beside:
                self._begin(piece.reader)
            self._begun = 1 + len(beside)

    def evaluated(self, done: int, may_need: Callable[[Piece], bool]) -> None:
        """The first `done` of them were evaluated. may_need: whether the answer may depend on one that follows"""
        if not self._described:  # one was not enough: what the others have is soon needed of all
            self._described = True
            for piece in self._pieces[done + self._window :]:
                if piece.reader is not None and may_need(piece):
                    piece.reader.begin_description()
        like = self._pieces[done - 1].reader
        if like is None:
            return
        for piece in self._pieces[max(self._begun, done) : done + self._window]:
            if piece.reader is not None and may_need(piece):
                if like.read_columns:
                    piece.reader.read_ahead(like)
                else:
                    self._begin(piece.reader)
        self._begun = max(self._begun, done + self._window)
        self._window = min(2 * self._window, _AHEAD_MAX)

    def _begin(self, reader: Reader | None) -> None:
        if reader is not None:
            reader.begin_evaluation(self._columns, about_traces=self._about_traces)


def _middle_ns(piece: Piece) -> int:
    """The middle of the time within which its traces begin."""
    if piece.reader is not None and (period := piece.reader.trace_period()) is not None:
        return period.first_ns // 2 + period.latest_ns // 2
    bounds = None if piece.reader is None else piece.reader.bounds("trace_start_ns")
    return piece.latest_ns if bounds is None else bounds[0] // 2 + piece.latest_ns // 2


def with_rows_ahead(sources: Sequence[Source], *, sorts: bool) -> Iterator[Source]:
    """The sources, each while the next one begins to get what its columns need, and if it is to be sorted, its rows."""
    for number, source in enumerate(sources):
        for later in sources[number + 1 : number + 2]:
            if is_a(RowsAhead, type(later)):
                cast("RowsAhead", later).begin_rows(sorts=sorts)
        yield source


def begin_descriptions(sources: Sequence[Source], *, all_of_them: bool) -> None:
    """Begins to read what sources say of their columns. No: only of those that do not say otherwise when they lie."""
    for source in sources:
        if is_a(Describing, type(source)):
            timed = is_a(TraceTiming, type(source)) and cast("TraceTiming", source).trace_period() is not None
            if all_of_them or not timed:
                cast("Describing", source).begin_description()
