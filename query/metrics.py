"""The entry points of metrics queries: TraceQL text and sources → series."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from query.engine.plan import MetricsPlan, plan_metrics
from query.engine.profile import Profile
from query.engine.reader import Mask, Reader
from query.engine.spansets import evaluate
from query.engine.stitch import shared_traces, whole_traces
from query.errors import QueryCancelled, TraceQLError
from query.language import ast
from query.language.check import check
from query.language.parse import parse
from query.over_time.contrast import contrast
from query.over_time.intervals import Intervals
from query.over_time.observe import KINDS, observe, spans_in_range
from query.over_time.partials import CELLS_MAX, Partial, TooManyCells, merge
from query.over_time.series import evaluate as evaluate_series
from query.results import Inspected, MetricsResult
from query.source import Source

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
) -> MetricsResult:
    """A sample for each multiple of the step from `start_ns` (rounded down) to `end_ns` (rounded up).

    The sample at t is about the spans that start in (t - step, t].

    sources: all that may know a span of the range; their order does not matter
    exemplars: so many at most for each metrics function of the query; its hint `exemplars` goes before
    cancelled: asked between sources
    profile: a new one; is filled
    Raises: TraceQLError before anything is read; ValueError: no such range; QueryCancelled; OSError from a source
    """
    return _run(sources, query, Intervals.over(start_ns, end_ns, step_ns), exemplars, cancelled, profile)


def metrics_instant(
    sources: Sequence[Source],
    query: str,
    *,
    start_ns: int,
    end_ns: int,
    exemplars: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    profile: Profile | None = None,
) -> MetricsResult:
    """One sample about all spans that start in [start_ns, end_ns]. Otherwise as `metrics_range`."""
    return _run(sources, query, Intervals.at_end(start_ns, end_ns), exemplars, cancelled, profile)


def _run(
    sources: Sequence[Source],
    query: str,
    intervals: Intervals,
    exemplars: int,
    cancelled: Callable[[], bool],
    profile: Profile | None = None,
) -> MetricsResult:
    profile = Profile() if profile is None else profile
    with profile.stage("compile"):
        root, plans = compile_metrics(query)
    exemplars = hinted_exemplars(query, min(exemplars, EXEMPLARS_MAX))
    try:
        merged, inspected = observe_sources(sources, plans, intervals, exemplars, cancelled, profile)
    except TooManyCells:
        problem = f"more than {CELLS_MAX} series times samples"
        hint = "Group by something with fewer values, or choose a longer step."
        at = plans[0].function.at
        raise TraceQLError(problem, query, at.start, at.end, hint) from None
    with profile.stage("make series"):
        series = tuple(evaluate_series(root, merged, intervals))
    return MetricsResult(series, inspected)


def observe_sources(
    sources: Sequence[Source],
    plans: Sequence[MetricsPlan],
    intervals: Intervals,
    exemplars: int,
    cancelled: Callable[[], bool],
    profile: Profile | None = None,
) -> tuple[list[Partial], Inspected]:
    """What some sources say to each metrics function. Partials of sources without common traces can be merged.

    Raises: TooManyCells, QueryCancelled, OSError
    """
    profile = Profile() if profile is None else profile
    readers = [Reader(source) for source in sources if source.rows]
    inside = [_may_have_spans(reader, intervals) for reader in readers]
    work: list[tuple[Reader, Mask | None]] = [(r, None) for r, here in zip(readers, inside, strict=True) if here]
    if any(plan.whole_traces for plan in plans):
        columns = frozenset().union(*(plan.columns for plan in plans))
        if any(isinstance(plan.function, ast.Compare) for plan in plans):
            columns |= {column for reader in readers for column in reader.source.columns}
        with profile.stage("find shared traces"):
            shared = shared_traces([reader.traces() for reader in readers])
            work = whole_traces(readers, shared, columns, inside)
    observed: list[list[Partial]] = [[] for _ in plans]
    for reader, among in work:
        for parts, plan in zip(observed, plans, strict=True):
            if cancelled():
                raise QueryCancelled
            with profile.source(reader):
                parts.append(_observe(plan, reader, among, intervals, exemplars))
            if sum(len(part.keys) for part in parts) * intervals.count > CELLS_MAX:
                parts[:] = [_merge(plan, parts, intervals, exemplars)]
        reader.forget()
    with profile.stage("merge"):
        merged = [_merge(plan, parts, intervals, exemplars) for plan, parts in zip(plans, observed, strict=True)]
    profile.finish(readers, [reader for reader, _ in work])
    inspected = Inspected(
        traces=sum(len(reader.traces().ids) for reader, _ in work),
        spans=sum(reader.rows for reader, _ in work),
        bytes=profile.bytes,
        sources=len(work),
    )
    return merged, inspected


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
    return merge(parts, kinds, intervals.count, exemplars)


def _observe(plan: MetricsPlan, reader: Reader, among: Mask | None, intervals: Intervals, exemplars: int) -> Partial:
    state = evaluate(plan.root, reader)
    spans = spans_in_range(state, among, reader, intervals)
    if isinstance(plan.function, ast.Compare):
        return contrast(plan.function, spans, reader, intervals)
    return observe(plan.function, spans, reader, intervals, exemplars)


def _may_have_spans(reader: Reader, intervals: Intervals) -> bool:
    bounds = reader.bounds("start_ns")
    return bounds is None or (bounds[0] <= intervals.end_ns and bounds[1] >= intervals.start_ns)
