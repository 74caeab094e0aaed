"""Fold: what all pieces say to the metrics functions of a query, compare() excepted."""

from collections.abc import Sequence
from dataclasses import replace

from query import memory
from query.engine.spansets import evaluate
from query.language import ast
from query.language.plan import MetricsPlan, metrics_functions
from query.language.walk import walk
from query.metrics.intervals import Intervals
from query.metrics.metrics_partial import CHEAPER, merge_function
from query.metrics.observe import observe, spans_in_range
from query.metrics.partials import CELLS_MAX, Partial, partial_size
from query.metrics.series import evaluate as evaluate_series
from query.results import MetricsResult, Series
from query.scan.arrays import Mask
from query.scan.pieces import Piece
from query.scan.progress import Progress
from query.scan.reader import Reader
from query.scan.scan import Scan, newest_spans_first
from tables.turns import consumed


class Observing:
    """Partials of each function, some pieces of which are merged already. One for a query; `run` it once."""

    def __init__(self, root: ast.Metrics, plans: Sequence[MetricsPlan], intervals: Intervals, exemplars: int) -> None:
        self._root, self._plans, self._intervals, self._exemplars = root, plans, intervals, exemplars
        self._parts: list[list[Partial]] = [[] for _ in plans]

    def run(self, scan: Scan, progress: Progress | None) -> None:
        """Over all pieces, if there is a function to observe. Raises: TooManyCells, QueryCancelled, OSError"""
        self._scan, self._progress = scan, progress
        if not all(isinstance(plan.function, ast.Compare) for plan in self._plans):
            scan.run(self, newest_spans_first)

    def merged(self, number: int) -> Partial:
        """What all pieces say to one of the functions, for once. Raises: TooManyCells, memory.MemoryExceeded"""
        parts = self._parts[number]
        merged = merge_function(self._plans[number], parts, self._intervals, self._exemplars)
        _drop(parts)
        return merged

    def drop(self) -> None:
        """Forgets the pieces that are not merged, such as those of a query that failed."""
        for parts in self._parts:
            _drop(parts)

    def add_piece(self, reader: Reader, among: Mask | None) -> bool:
        for number, (plan, parts) in enumerate(zip(self._plans, self._parts, strict=True)):
            if isinstance(plan.function, ast.Compare):
                continue
            self._scan.check_cancelled()
            spans = spans_in_range(evaluate(plan.root, reader), among, reader, self._intervals)
            parts.append(observe(plan.function, spans, reader, self._intervals, self._exemplars))
            memory.reserve(parts[-1].nbytes, f"{len(parts[-1].keys)} series of one row group", CHEAPER)
            count = self._intervals.count
            if partial_size(parts, count) > max(CELLS_MAX, 2 * partial_size(parts[:1], count)):
                parts.append(self.merged(number))
        return False

    def ends_before(self, piece: Piece, left: int) -> bool:
        if self._progress is not None and self._progress.due():
            with self._scan.profile.stage("make series"):
                series = self._settled_series(piece.latest_span_ns())
                self._progress.tell(MetricsResult(series, self._scan.inspected(left)))
        return False

    def may_need(self, _piece: Piece) -> bool:
        return True

    def _settled_series(self, latest_ns: int) -> tuple[Series, ...]:
        return settled_series(self._root, self._plans, self._intervals, self._parts, latest_ns)


def settled_series(
    root: ast.Metrics,
    plans: Sequence[MetricsPlan],
    intervals: Intervals,
    parts: Sequence[Sequence[Partial]],
    latest_ns: int,
) -> tuple[Series, ...]:
    """The samples that spans which start at latest_ns or before do not count for: they are as in the answer.

    parts: of each metrics function the partials that are known
    """
    first = max(0, -(-(latest_ns - intervals.start_ns) // intervals.step_ns) + 1)
    if intervals.instant or first >= intervals.count or not _settles(root):
        return ()
    rest = replace(intervals, start_ns=intervals.start_ns + first * intervals.step_ns)
    merged = [
        merge_function(plan, [part.since(first) for part in some], rest, 0)
        for plan, some in zip(plans, parts, strict=True)
    ]
    try:
        return tuple(evaluate_series(root, merged, rest))
    finally:
        _drop(merged)


def _drop(parts: list[Partial]) -> None:
    for part in consumed(parts):
        part.drop()


def _settles(node: ast.Metrics | ast.Literal) -> bool:
    """Whether a sample needs no others than those of its interval and its series.

    compare() chooses by all intervals; topk and bottomk may prefer the zeros of a series that is not known yet.
    """
    compares = any(isinstance(plan.function, ast.Compare) for plan in metrics_functions(node))
    return not compares and not any(isinstance(part, ast.Ranking) for part in walk(node))
