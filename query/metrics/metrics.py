"""The entry points of metrics queries: TraceQL text and sources → series."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from query import memory
from query.engine.spansets import ROW_BYTES, evaluate
from query.errors import QueryCancelled, TraceQLError
from query.language import ast
from query.language.check import check
from query.language.parse import parse
from query.language.plan import MetricsPlan, metrics_functions, plan_metrics
from query.language.walk import walk
from query.metrics.comparison import compare_pieces
from query.metrics.intervals import Intervals
from query.metrics.observe import KINDS, observe, spans_in_range
from query.metrics.partials import CELLS_MAX, Partial, TooManyCells, merge, partial_size
from query.metrics.series import evaluate as evaluate_series
from query.results import Inspected, MetricsResult, Series
from query.scan.arrays import Mask
from query.scan.profile import Profile
from query.scan.progress import Progress
from query.scan.reader import Reader
from query.scan.source import Source
from query.scan.stitch import UNKNOWN_NS, Piece, given, latest_start_ns, shared_traces, whole_traces

# Partials of each metrics function so far; when the last span of the sources that are left starts, at the latest; what
# was inspected, which takes as long as there are sources and is hardly ever asked for.
Tell = Callable[[Sequence[Sequence[Partial]], int, Callable[[], Inspected]], None]

CHEAPER: Final = "fewer fields in by(), fields with fewer values, a longer step, or a shorter time range"
# Of stitched traces, which have their facts anyway.
_COMPARED_COLUMNS: Final = ("name", "kind", "status_code", "status_message", "scope_name", "scope_version")
EXEMPLARS_MAX: Final = 1000  # more than anybody can see in a graph


def hinted_exemplars(query: str, exemplars: int) -> int:
    """How many exemplars a query wants: with(exemplars=false), with(exemplars=50); otherwise so many."""
    for hint in parse(query).hints:
        if hint.name == "exemplars" and isinstance(hint.value.value, int):
            if isinstance(hint.value.value, bool):
                return exemplars if hint.value.value else 0
            return min(max(hint.value.value, 0), EXEMPLARS_MAX)
    return exemplars


def compile_metrics(query: str) -> tuple[ast.Metrics, tuple[MetricsPlan, ...]]:
    """The tree, and a plan for each of its metrics functions. Raises: TraceQLError; nothing has been read then"""
    parsed = check(parse(query))
    if isinstance(parsed.root, ast.Pipeline):
        problem, hint = "this is no metrics query", "Put a metrics function at its end: { … } | rate()"
        raise TraceQLError(problem, query, 0, max(1, len(query)), hint)
    return parsed.root, plan_metrics(parsed)


def metrics_range(
    sources: Sequence[Source],
    query: str,
    *,
    start_ns: int,
    end_ns: int,
    step_ns: int,
    exemplars: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    profile: Profile | None = None,
    progress: Progress | None = None,
) -> MetricsResult:
    """A sample for each multiple of the step from `start_ns` (rounded down) to `end_ns` (rounded up).

    The sample at t is about the spans that start in (t - step, t], as far as they start in (start_ns, end_ns].

    sources: all that may know a span of the range; their order does not matter
    exemplars: so many at most for each metrics function of the query; its hint `exemplars` goes before
    cancelled: asked between sources
    profile: a new one; is filled
    progress: is told the latest samples as soon as no other source can change them, without exemplars
    Raises: TraceQLError before anything is read; ValueError: no such range; QueryCancelled; OSError from a source
    """
    return _run(sources, query, Intervals.over(start_ns, end_ns, step_ns), exemplars, cancelled, profile, progress)


def metrics_instant(
    sources: Sequence[Source],
    query: str,
    *,
    start_ns: int,
    end_ns: int,
    exemplars: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    profile: Profile | None = None,
    progress: Progress | None = None,
) -> MetricsResult:
    """One sample about all spans that start in (start_ns, end_ns]. Otherwise as `metrics_range`.

    progress: is told no sample, only how much is left
    """
    return _run(sources, query, Intervals.at_end(start_ns, end_ns), exemplars, cancelled, profile, progress)


def _run(
    sources: Sequence[Source],
    query: str,
    intervals: Intervals,
    exemplars: int,
    cancelled: Callable[[], bool],
    profile: Profile | None,
    progress: Progress | None,
) -> MetricsResult:
    profile = Profile() if profile is None else profile
    with profile.stage("compile"):
        root, plans = compile_metrics(query)
    exemplars = hinted_exemplars(query, min(exemplars, EXEMPLARS_MAX))

    def tell(observed: Sequence[Sequence[Partial]], latest_ns: int, inspected: Callable[[], Inspected]) -> None:
        if progress is not None and progress.due():
            with profile.stage("make series"):
                series = _settled_series(root, plans, observed, intervals, latest_ns)
                progress.tell(MetricsResult(series, inspected()))

    try:
        merged, inspected = observe_sources(sources, plans, intervals, exemplars, cancelled, profile, tell)
    except TooManyCells:
        problem = f"more than {CELLS_MAX} series times samples"
        hint = "Group by something with fewer values, or choose a longer step."
        at = plans[0].function.at
        raise TraceQLError(problem, query, at.start, at.end, hint) from None
    with profile.stage("make series"):
        series = evaluate_series(root, merged, intervals)
    return MetricsResult(series, inspected)


def observe_sources(
    sources: Sequence[Source],
    plans: Sequence[MetricsPlan],
    intervals: Intervals,
    exemplars: int,
    cancelled: Callable[[], bool],
    profile: Profile | None = None,
    tell: Tell | None = None,
) -> tuple[list[Partial], Inspected]:
    """What some sources say to each metrics function. Partials of sources without common traces can be merged.

    tell: called between sources, the latest ones first
    Raises: TooManyCells, QueryCancelled, OSError
    """
    profile = Profile() if profile is None else profile
    readers = [Reader(source) for source in sources if source.rows]
    inside = [_may_have_spans(reader, intervals) for reader in readers]
    work = [
        Piece(UNKNOWN_NS, latest_start_ns(r, "start_ns"), False, partial(given, r, None))
        for r, here in zip(readers, inside, strict=True)
        if here
    ]
    if any(plan.whole_traces for plan in plans):
        columns = frozenset(_COMPARED_COLUMNS).union(*(plan.columns for plan in plans))
        with profile.stage("find shared traces"):
            shared = shared_traces([reader.traces() for reader in readers])
            work = whole_traces(readers, shared, columns, inside)
    work.sort(key=lambda piece: -piece.latest_span_ns)
    observed: list[list[Partial]] = [[] for _ in plans]
    evaluated: list[Reader] = []
    compared = [isinstance(plan.function, ast.Compare) for plan in plans]
    if not all(compared):
        others = [
            item for item, compares in zip(zip(observed, plans, strict=True), compared, strict=True) if not compares
        ]
        for done, piece in enumerate(work, 1):
            reader, among = piece.open()
            evaluated.append(reader)
            for parts, plan in others:
                if cancelled():
                    raise QueryCancelled
                with profile.source(reader):
                    parts.append(_observe(plan, reader, among, intervals, exemplars))
                memory.reserve(parts[-1].nbytes, f"{len(parts[-1].keys)} series of one row group", CHEAPER)
                if partial_size(parts, intervals.count) > max(CELLS_MAX, 2 * partial_size(parts[:1], intervals.count)):
                    parts[:] = [_merge(plan, parts, intervals, exemplars)]
            reader.discard()
            if tell is not None and done < len(work):
                inspected = partial(_inspected, readers, evaluated, len(work) - done)
                tell(observed, work[done].latest_span_ns, inspected)
    for parts, plan, compares in zip(observed, plans, compared, strict=True):
        if compares:
            worked_on: list[Reader] = []

            def done_with(reader: Reader, worked_on: list[Reader] = worked_on) -> None:
                worked_on.append(reader)
                if tell is not None and len(worked_on) < len(work):
                    tell(observed, UNKNOWN_NS, partial(_inspected, readers, worked_on, len(work) - len(worked_on)))

            parts.append(compare_pieces(plan, work, intervals, cancelled, profile, done_with))
            evaluated += worked_on
    with profile.stage("merge"):
        merged = [
            parts[0] if compares else _merge(plan, parts, intervals, exemplars)
            for plan, parts, compares in zip(plans, observed, compared, strict=True)
        ]
    profile.finish(readers, evaluated)
    return merged, _inspected(readers, evaluated, 0)


def _inspected(readers: Sequence[Reader], evaluated: Sequence[Reader], left: int) -> Inspected:
    return Inspected(
        traces=sum(len(reader.traces().ids) for reader in evaluated),
        spans=sum(reader.rows for reader in evaluated),
        bytes=sum(reader.bytes_read for reader in {*readers, *evaluated}),
        sources=len(evaluated),
        left=left,
    )


def _settled_series(
    root: ast.Metrics,
    plans: Sequence[MetricsPlan],
    observed: Sequence[Sequence[Partial]],
    intervals: Intervals,
    latest_ns: int,
) -> tuple[Series, ...]:
    """The samples that spans which start at latest_ns or before do not count for: they are as in the answer."""
    first = max(0, -(-(latest_ns - intervals.start_ns) // intervals.step_ns) + 1)
    if intervals.instant or first >= intervals.count or not _settles(root):
        return ()
    rest = replace(intervals, start_ns=intervals.start_ns + first * intervals.step_ns)
    merged = [
        _merge(plan, [part.since(first) for part in parts], rest, 0)
        for plan, parts in zip(plans, observed, strict=True)
    ]
    return tuple(evaluate_series(root, merged, rest))


def _settles(node: ast.Metrics | ast.Literal) -> bool:
    """Whether a sample needs no others than those of its interval and its series.

    compare() chooses by all intervals; topk and bottomk may prefer the zeros of a series that is not known yet.
    """
    compares = any(isinstance(plan.function, ast.Compare) for plan in metrics_functions(node))
    return not compares and not any(isinstance(part, ast.Ranking) for part in walk(node))


def merge_partials(
    observed: Sequence[Sequence[Partial]], plans: Sequence[MetricsPlan], intervals: Intervals, exemplars: int
) -> list[Partial]:
    """One partial for each metrics function. In: for each worker one for each metrics function."""
    return [_merge(plan, [parts[i] for parts in observed], intervals, exemplars) for i, plan in enumerate(plans)]


def _merge(plan: MetricsPlan, parts: Sequence[Partial], intervals: Intervals, exemplars: int) -> Partial:
    function = plan.function
    kinds = ("count",) if isinstance(function, ast.Compare) else KINDS[function.name]
    parts = list(parts)
    if isinstance(function, ast.MetricsFunction) and function.of is None and not function.by:
        # Nothing at all is 0, too.
        parts.append(Partial([()], {"count": np.zeros((1, intervals.count))}))
    merged = merge(parts, kinds, intervals.count, exemplars)
    memory.reserve(merged.nbytes, f"{len(merged.keys)} series", CHEAPER)
    memory.current().release(sum(part.nbytes for part in parts))
    return merged


def _observe(plan: MetricsPlan, reader: Reader, among: Mask | None, intervals: Intervals, exemplars: int) -> Partial:
    with memory.current().scratch(reader.rows * ROW_BYTES, f"the evaluation of {reader.rows} spans"):
        state = evaluate(plan.root, reader)
    spans = spans_in_range(state, among, reader, intervals)
    assert isinstance(plan.function, ast.MetricsFunction)
    return observe(plan.function, spans, reader, intervals, exemplars)


def _may_have_spans(reader: Reader, intervals: Intervals) -> bool:
    bounds = reader.bounds("start_ns")
    return bounds is None or (bounds[0] <= intervals.until_ns and bounds[1] > intervals.after_ns)
