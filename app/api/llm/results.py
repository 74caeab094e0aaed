"""Answers to searches, metrics queries and questions about attributes in few words, with a limit to their size."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from app.api.llm.values import fitting, labels, milliseconds, moment, number
from query.results import MetricsResult, SearchResult, Series, SpanMatch, TraceMatch
from query.tags.tags import TagNames, TagValues
from tables.units import NS_PER_S

Json = dict[str, Any]
_FRAME_BYTES: Final = 500
_EXEMPLARS_MAX: Final = 3


def search_results(result: SearchResult, limit: int, bytes_max: int) -> Json:
    """Traces, newest first, with the spans that matched. limit: how many were asked for"""
    kept, all_fit = fitting(map(_trace, result.traces), bytes_max - _FRAME_BYTES)
    out: Json = {"traces": kept}
    if not all_fit:
        out["truncated"] = (
            f"{len(kept)} of {len(result.traces)} traces are shown. Narrow the query or the time range for the others."
        )
    elif len(result.traces) >= limit:
        out["limited"] = f"the newest {limit} traces; there may be more: set limit, or narrow the query"
    return out


def _trace(trace: TraceMatch) -> Json:
    sets = [
        {
            "matched": one.matched,
            **({"attributes": labels(one.attributes)} if one.attributes else {}),
            "spans": [_span(span, trace.start_ns) for span in one.spans],
        }
        for one in trace.span_sets
    ]
    services = {
        name: {"spans": stats.span_count, **({"errors": stats.error_count} if stats.error_count else {})}
        for name, stats in trace.service_stats.items()
    }
    return {
        "traceId": trace.trace_id.hex(),
        "rootServiceName": trace.root_service or "",
        "rootTraceName": trace.root_name or "",
        "startTime": moment(trace.start_ns),
        "durationMs": milliseconds(trace.duration_ns),
        "services": services,
        "spanSets": sets,
    }


def _span(span: SpanMatch, first_ns: int) -> Json:
    return {
        "spanId": span.span_id.hex(),
        **({"name": span.name} if span.name else {}),
        "startMs": milliseconds(span.start_ns - first_ns),
        "durationMs": milliseconds(span.duration_ns),
        **({"attributes": labels(span.attributes)} if span.attributes else {}),
    }


def instant_results(result: MetricsResult, bytes_max: int) -> Json:
    """A value per series, the largest first."""
    ordered = sorted(result.series, key=_largest, reverse=True)
    parts = (
        {"labels": labels(one.labels), "value": number(one.samples[-1][1]) if one.samples else 0} for one in ordered
    )
    return _series(parts, len(ordered), bytes_max)


def range_results(result: MetricsResult, bytes_max: int) -> Json:
    """Values at common times, null where a series has none; series with the largest values first. Times stand once:
    the first, and the step.
    """
    ordered = sorted(result.series, key=_largest, reverse=True)
    times = sorted({time_ns for one in ordered for time_ns, _ in one.samples})
    steps = {after - before for before, after in pairwise(times)}
    head: Json = {"startTime": moment(times[0])} if times else {}
    if steps:
        head["stepSeconds"] = min(steps) / NS_PER_S
        times = list(range(times[0], times[-1] + 1, min(steps)))
    places = {time_ns: at for at, time_ns in enumerate(times)}
    return {**head, **_series((_values(one, places) for one in ordered), len(ordered), bytes_max)}


def _values(series: Series, places: dict[int, int]) -> Json:
    values: list[float | str | None] = [None] * len(places)
    for time_ns, value in series.samples:
        if (at := places.get(time_ns)) is not None:
            values[at] = number(value)
    exemplars = [
        {"traceId": one.trace_id.hex(), "value": number(one.value)} for one in series.exemplars[:_EXEMPLARS_MAX]
    ]
    return {"labels": labels(series.labels), "values": values, **({"exemplars": exemplars} if exemplars else {})}


def _series(parts: Iterable[Json], count: int, bytes_max: int) -> Json:
    kept, all_fit = fitting(parts, bytes_max - _FRAME_BYTES)
    out: Json = {"series": kept}
    if not all_fit:
        out["truncated"] = (
            f"{len(kept)} of {count} series are shown, those with the largest values first. Group by fewer attributes, "
            "or add | topk(10)."
        )
    return out


def _largest(series: Series) -> float:
    return max((value for _, value in series.samples if not math.isnan(value)), default=-math.inf)


def tag_names(names: TagNames, bytes_max: int) -> Json:
    """Names of attributes by scope."""
    scopes, cut = _cut(dict(names.scopes), bytes_max)
    return {"scopes": scopes, **cut}


def tag_values(values: TagValues, bytes_max: int) -> Json:
    """Values of an attribute by type, as Tempo's form for language models."""
    kept, cut = _cut(values_by_type(values), bytes_max)
    return {"tagValues": kept, **cut}


def values_by_type(values: TagValues) -> dict[str, list[str]]:
    """All of them."""
    by_type: dict[str, list[str]] = {}
    for value in values.values:
        by_type.setdefault(value.type, []).append(value.text)
    return by_type


def _cut(lists: dict[str, Any], bytes_max: int) -> tuple[Json, Json]:
    """The beginnings of some lists, each with the same share of the bytes that those before it leave."""
    kept: Json = {}
    left, whole = bytes_max - _FRAME_BYTES, True
    ordered: Sequence[tuple[str, Any]] = sorted(lists.items(), key=lambda one: len(one[1]))
    for number_of, (name, texts) in enumerate(ordered):
        kept[name], all_fit = fitting(texts, left // (len(ordered) - number_of))
        left -= sum(len(one) + 3 for one in texts[: len(kept[name])])
        whole &= all_fit
    count, shown = sum(map(len, lists.values())), sum(map(len, kept.values()))
    return kept, {} if whole else {"truncated": f"{shown} of {count} are shown. Ask with a filter, or for one scope."}
