"""The entry points of metrics queries: TraceQL text and sources → series."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from query.errors import TraceQLError
from query.language import ast
from query.language.check import check
from query.language.kept import kept
from query.language.parse import parse
from query.language.plan import MetricsPlan, plan_metrics
from query.metrics.comparison import Comparing
from query.metrics.intervals import Intervals
from query.metrics.metrics_partial import MetricsPartial, merge_workers
from query.metrics.observing import Observing, settled_series
from query.metrics.partials import CELLS_MAX, TooManyCells
from query.metrics.series import evaluate
from query.requests import InstantRequest, RangeRequest
from query.results import Inspected, MetricsResult
from query.scan.arrays import Ids
from query.scan.pieces import NO_IDS
from query.scan.progress import QueryObserver
from query.scan.scan import Scan, ScanPlan
from query.scan.source import Source
from query.scan.stitch import stitched_rows
from query.scan.window import SpanStarts

# Of stitched traces, which have their facts anyway.
_COMPARED_COLUMNS: Final = ("name", "kind", "status_code", "status_message", "scope_name", "scope_version")
EXEMPLARS_MAX: Final = 1000  # more than anybody can see in a graph

MetricsRequest = RangeRequest | InstantRequest


def hinted_exemplars(query: str, exemplars: int) -> int:
    """How many exemplars a query wants: with(exemplars=false), with(exemplars=50); otherwise so many."""
    for hint in parse(query).hints:
        if hint.name == "exemplars" and isinstance(hint.value.value, int):
            if isinstance(hint.value.value, bool):
                return exemplars if hint.value.value else 0
            return min(max(hint.value.value, 0), EXEMPLARS_MAX)
    return exemplars


@kept
def compile_metrics(query: str) -> tuple[ast.Metrics, tuple[MetricsPlan, ...]]:
    """The tree, and a plan for each of its metrics functions. Raises: TraceQLError; nothing has been read then"""
    parsed = check(parse(query))
    if isinstance(parsed.root, ast.Pipeline):
        problem, hint = "this is no metrics query", "Put a metrics function at its end: { … } | rate()"
        raise TraceQLError(problem, query, 0, max(1, len(query)), hint)
    return parsed.root, plan_metrics(parsed)


def concerns_traces(query: str) -> bool:
    """Whether the answer depends on whole traces, so that workers must know which they share. Raises: TraceQLError"""
    return any(plan.whole_traces for plan in compile_metrics(query)[1])


def metrics_range(
    sources: Sequence[Source],
    request: RangeRequest,
    *,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> MetricsResult:
    """A sample for each multiple of the step from `start_ns` (rounded down) to `end_ns` (rounded up).

    The sample at t is about the spans that start in (t - step, t], as far as they start in (start_ns, end_ns].

    sources: all that may know a span of the range; their order does not matter
    observer: its profile is filled; its progress gets the latest samples as soon as no other source can change
        them, without exemplars
    cancelled: asked between sources
    Raises: TraceQLError before anything is read; ValueError: no such range; QueryCancelled; OSError from a source
    """
    return _answer(sources, request, observer, cancelled)


def metrics_instant(
    sources: Sequence[Source],
    request: InstantRequest,
    *,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> MetricsResult:
    """One sample about all spans that start in (start_ns, end_ns]. Otherwise as `metrics_range`.

    observer: its progress gets no sample, only how much is left
    """
    return _answer(sources, request, observer, cancelled)


def metrics_partial(
    sources: Sequence[Source],
    request: MetricsRequest,
    *,
    elsewhere: Ids = NO_IDS,
    observer: QueryObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> MetricsPartial:
    """What one of several workers answers from its sources. As `metrics_range`, but for

    elsewhere: ids, ascending, of traces of which other workers have spans, too: their rows are in the partial where
        the query is about whole traces
    """
    return _Question(request, observer).ask(sources, elsewhere, cancelled, keeps_all=True)


def merge(partials: Sequence[MetricsPartial], request: MetricsRequest) -> MetricsPartial:
    """What the sources of all the partials say. In: partials of the same request over different sources, in any order

    Of shared traces the rows are only put below each other: `finish` evaluates them when all are there.
    """
    return _Question(request, None).merge(partials)


def finish(partials: Sequence[MetricsPartial], request: MetricsRequest) -> MetricsResult:
    """The answer of several workers, in any order. Raises: TraceQLError: too many series; memory.MemoryExceeded"""
    question = _Question(request, None)
    merged = question.merge(partials)
    if merged.shared_rows is not None:
        sources = [stitched_rows(merged.shared_rows)]
        stitched = question.ask(sources, NO_IDS, lambda: False, keeps_all=True)
        parts = replace(merged, shared_rows=None), stitched
        merged = question.merge(parts)
        for part in parts:
            part.drop()
    return question.answer(merged)


def settled(partials: Sequence[MetricsPartial], request: MetricsRequest, latest_ns: int) -> MetricsResult:
    """The latest samples, as far as workers that have not answered cannot change them. Raises: as `finish`

    latest_ns: no span of theirs starts later
    """
    return _Question(request, None).settled(partials, latest_ns)


def _answer(
    sources: Sequence[Source],
    request: MetricsRequest,
    observer: QueryObserver | None,
    cancelled: Callable[[], bool],
) -> MetricsResult:
    question = _Question(request, observer)
    return question.answer(question.ask(sources, NO_IDS, cancelled, keeps_all=False))


class _Question:
    """A metrics request, compiled. Raises: TraceQLError; ValueError: no such range"""

    def __init__(self, request: MetricsRequest, observer: QueryObserver | None) -> None:
        if isinstance(request, RangeRequest):
            self._intervals = Intervals.over(request.start_ns, request.end_ns, request.step_ns)
        else:
            self._intervals = Intervals.at_end(request.start_ns, request.end_ns)
        self._observer = QueryObserver() if observer is None else observer
        with self._observer.profile.stage("compile"):
            self._root, self._plans = compile_metrics(request.query)
        self._exemplars = hinted_exemplars(request.query, min(request.exemplars, EXEMPLARS_MAX))
        self._query = request.query

    def ask(
        self, sources: Sequence[Source], elsewhere: Ids, cancelled: Callable[[], bool], *, keeps_all: bool
    ) -> MetricsPartial:
        """What the sources say to each metrics function. keeps_all: of compare() every value, not only the first few"""
        progress, intervals = self._observer.progress, self._intervals
        scan = Scan(sources, self._scan_plan(elsewhere), cancelled, self._observer.profile)
        with self._too_many_cells(), ExitStack() as stack:
            observing = Observing(self._root, self._plans, intervals, self._exemplars)
            stack.callback(observing.drop)
            observing.run(scan, progress)
            comparing = {}
            for number, plan in enumerate(self._plans):
                if isinstance(plan.function, ast.Compare):
                    comparing[number] = Comparing(plan, intervals, scan).run(progress, keeps_all=keeps_all)
            with scan.profile.stage("merge"):
                merged = tuple(
                    comparing[number] if number in comparing else observing.merged(number)
                    for number in range(len(self._plans))
                )
        rows = scan.shared_rows(None if comparing else scan.plan.columns)
        return MetricsPartial(merged, scan.finish(), rows)

    def merge(self, partials: Sequence[MetricsPartial]) -> MetricsPartial:
        """What several workers say to each metrics function."""
        with self._too_many_cells():
            return merge_workers(partials, self._plans, self._intervals, self._exemplars)

    def settled(self, partials: Sequence[MetricsPartial], latest_ns: int) -> MetricsResult:
        """As the function of that name."""
        inspected = sum((partial.inspected for partial in partials), Inspected())
        parts = [[partial.functions[number] for partial in partials] for number in range(len(self._plans))]
        waits = any(plan.whole_traces for plan in self._plans)  # for the rows of traces that several workers have
        with self._too_many_cells():
            series = () if waits else settled_series(self._root, self._plans, self._intervals, parts, latest_ns)
        return MetricsResult(series, inspected)

    def answer(self, partial: MetricsPartial) -> MetricsResult:
        """The series. In: what all sources say, of which nothing is left then"""
        with self._observer.profile.stage("make series"):
            try:
                series = evaluate(self._root, partial.functions, self._intervals)
            finally:
                partial.drop()
        return MetricsResult(series, partial.inspected)

    def _scan_plan(self, elsewhere: Ids) -> ScanPlan:
        window = SpanStarts(self._intervals.after_ns, self._intervals.until_ns)
        columns = frozenset(_COMPARED_COLUMNS).union(*(plan.columns for plan in self._plans))
        return ScanPlan(window, columns, any(plan.whole_traces for plan in self._plans), elsewhere)

    @contextmanager
    def _too_many_cells(self) -> Iterator[None]:
        try:
            yield
        except TooManyCells:
            problem = f"more than {CELLS_MAX} series times samples"
            hint = "Group by something with fewer values, or choose a longer step."
            at = self._plans[0].function.at
            raise TraceQLError(problem, self._query, at.start, at.end, hint) from None
