"""The recorded answers of tests/query/reference, and ours in the same JSON form."""

import gzip
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from query.results import Attributes, MetricsResult, SearchResult, SpanSet

FOLDER = Path(__file__).resolve().parents[2] / "query" / "reference"
SPANS = FOLDER / "spans.otlp.bin.gz"


@cache
def cases(group: str) -> list[dict[str, Any]]:
    """The recorded requests of a group, and what was answered."""
    found = [case for case in _all_cases() if case["group"] == group]
    if not found:
        raise ValueError(f"the reference has no cases of group {group}")
    return found


@cache
def _all_cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gzip.decompress((FOLDER / "cases.json.gz").read_bytes()))
    return found


def recorded(body: dict[str, Any]) -> dict[str, Any]:
    """A recorded answer: traces by id, what does not count left out or put in order."""
    return {trace["traceID"]: _normal_trace(trace) for trace in body.get("traces") or []}


def answered(result: SearchResult) -> dict[str, Any]:
    """Our answer in the same form."""
    traces = {}
    for trace in result.traces:
        found = {
            "traceID": trace.trace_id.hex().lstrip("0"),
            "rootServiceName": trace.root_service,
            "rootTraceName": trace.root_name,
            "startTimeUnixNano": str(trace.start_ns),
            "durationMs": trace.duration_ns // 1_000_000,
            "spanSets": [_span_set(span_set) for span_set in trace.span_sets],
            "serviceStats": {
                service: {
                    "spanCount": stats.span_count,
                    **({"errorCount": stats.error_count} if stats.error_count else {}),
                }
                for service, stats in trace.service_stats.items()
            },
        }
        traces[found["traceID"]] = _normal_trace(found)
    return traces


def recorded_series(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The series of a recorded answer, in order."""
    return _in_order(body.get("series") or [])


def answered_series(result: MetricsResult, *, instant: bool) -> list[dict[str, Any]]:
    """Ours in the same form: Tempo's JSON, without exemplars."""
    series = []
    for one in result.series:
        samples = [
            {"timestampMs": str(ns // 1_000_000), **({"value": value} if value else {})} for ns, value in one.samples
        ]
        value = {k: v for k, v in samples[0].items() if k == "value"} if instant else {"samples": samples}
        series.append({"labels": _key_values(one.labels), **value})
    return _in_order(series)


def _in_order(series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for one in series:
        one.pop("exemplars", None)
        one["labels"].sort(key=_text)
    return sorted(series, key=lambda one: _text(one["labels"]))


def same(a: Any, b: Any) -> bool:
    """Equal, floats to 1e-9."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _span_set(span_set: SpanSet) -> dict[str, Any]:
    spans = [
        {
            "spanID": span.span_id.hex(),
            **({"name": span.name} if span.name else {}),
            "startTimeUnixNano": str(span.start_ns),
            **({"durationNanos": str(span.duration_ns)} if span.duration_ns else {}),
            **({"attributes": _key_values(span.attributes)} if span.attributes else {}),
        }
        for span in span_set.spans
    ]
    said = {"attributes": _key_values(span_set.attributes)} if span_set.attributes else {}
    return {"spans": spans, "matched": span_set.matched, **said}


def _key_values(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
    return {"arrayValue": {"values": [_value(item) for item in value]}}


def _normal_trace(trace: dict[str, Any]) -> dict[str, Any]:
    trace = {key: value for key, value in trace.items() if key != "spanSet"}
    if not trace.get("durationMs"):
        trace.pop("durationMs", None)
    for span_set in trace.get("spanSets", []):
        span_set["spans"].sort(key=lambda span: span["spanID"])
        for span in span_set["spans"]:
            span.get("attributes", []).sort(key=_text)
        span_set.get("attributes", []).sort(key=_text)
    trace.get("spanSets", []).sort(key=_text)
    return trace


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
