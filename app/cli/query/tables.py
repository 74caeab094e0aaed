"""Answers as text. No content of a span reaches the terminal as a control character."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from app.cli.query.times import shown_duration, shown_time

Json = Mapping[str, Any]
_CELL_CHARS_MAX: Final = 80
_BARS: Final = "▁▂▃▄▅▆▇█"
_BARS_MAX: Final = 40
_DEPTH_MAX: Final = 40


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [head, *([clean(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def clean(text: str) -> str:
    """Printable text, truncated to the width of a cell."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: _CELL_CHARS_MAX + 1])
    return shown if len(shown) <= _CELL_CHARS_MAX else shown[: _CELL_CHARS_MAX - 1] + "…"


def search_table(answer: Json) -> str:
    """A line per trace; then the total and the next page's cursor, if requested."""
    rest = [f"{answer['totalTraces']} traces in all"] if "totalTraces" in answer else []
    rest += [f"next page: --cursor {answer['nextCursor']}"] if "nextCursor" in answer else []
    return "".join([_traces(answer), *(f"{line}\n" for line in rest)])


def _traces(answer: Json) -> str:
    return table(
        ("TRACE", "START (UTC)", "DURATION", "SERVICE", "NAME", "MATCHED"),
        (
            (
                trace["traceID"].rjust(32, "0"),
                shown_time(int(trace.get("startTimeUnixNano", 0))),
                shown_duration(trace.get("durationMs", 0) * 1_000_000),
                trace.get("rootServiceName", ""),
                trace.get("rootTraceName", ""),
                str(sum(group.get("matched", 0) for group in trace.get("spanSets", [])) or ""),
            )
            for trace in answer.get("traces", [])
        ),
    )


def tags_table(answer: Json) -> str:
    return table(
        ("SCOPE", "TAG"), ((scope["name"], tag) for scope in answer.get("scopes", []) for tag in scope.get("tags", []))
    )


def values_table(answer: Json) -> str:
    return table(("TYPE", "VALUE"), ((one["type"], one.get("value", "")) for one in answer.get("tagValues", [])))


def instant_table(answer: Json) -> str:
    return table(
        ("SERIES", "VALUE"), ((_labels(one), _number(one.get("value", 0))) for one in answer.get("series", []))
    )


def range_table(answer: Json) -> str:
    """A line per series: its last, minimum and maximum value, and its course."""
    rows = []
    for one in answer.get("series", []):
        values = [float(sample.get("value", 0)) for sample in one.get("samples", [])]
        if values:
            numbers = (_number(values[-1]), _number(min(values)), _number(max(values)))
            rows.append((_labels(one), *numbers, _bars(values)))
    return table(("SERIES", "LAST", "MIN", "MAX", "COURSE"), rows)


def trace_tree(trace: Json) -> str:
    """The spans below their parents, by start; a span without its parent is at the top."""
    spans = [
        (span, _service(group))
        for group in trace.get("resourceSpans", [])
        for scope in group.get("scopeSpans", [])
        for span in scope.get("spans", [])
    ]
    spans.sort(key=lambda pair: _start(pair[0]))
    known = {span["spanId"] for span, _ in spans}
    children: dict[str, list[tuple[Json, str]]] = {}
    for span, service in spans:
        parent = span.get("parentSpanId", "")
        inside = parent in known and parent != span["spanId"]
        children.setdefault(parent if inside else "", []).append((span, service))
    first = min((_start(span) for span, _ in spans), default=0)
    rows = []
    left = [(0, pair) for pair in reversed(children.pop("", []))]
    while left or children:
        if not left:  # parents in a circle: no top leads to them
            left = [(0, pair) for pair in reversed(children.popitem()[1])]
        depth, (span, service) = left.pop()
        rows.append(_span_row(span, service, depth, first))
        left += [(depth + 1, pair) for pair in reversed(children.pop(span["spanId"], []))]
    return table(("SPAN", "SERVICE", "AT", "DURATION", "STATUS", "ID"), rows)


def _span_row(span: Json, service: str, depth: int, first_ns: int) -> Sequence[str]:
    start = _start(span)
    status = span.get("status", {})
    words = status.get("code", "").removeprefix("STATUS_CODE_").lower()
    return (
        "  " * min(depth, _DEPTH_MAX // 2) + span.get("name", ""),
        service,
        f"+{shown_duration(start - first_ns)}",
        shown_duration(int(span.get("endTimeUnixNano", 0)) - start),
        f"{words}: {status['message']}" if status.get("message") else words,
        base64.b64decode(span["spanId"]).hex(),
    )


def _start(span: Json) -> int:
    return int(span.get("startTimeUnixNano", 0))


def _service(group: Json) -> str:
    for attribute in group.get("resource", {}).get("attributes", []):
        if attribute["key"] == "service.name":
            return _value(attribute.get("value", {}))
    return ""


def _labels(series: Json) -> str:
    return ", ".join(f"{one['key']}={_value(one.get('value', {}))}" for one in series.get("labels", [])) or "{}"


def _value(value: Json) -> str:
    for kind, found in value.items():
        if kind == "arrayValue":
            return f"[{', '.join(_value(item) for item in found.get('values', []))}]"
        return str(found).lower() if isinstance(found, bool) else str(found)
    return ""


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _bars(values: Sequence[float]) -> str:
    """At most _BARS_MAX bars, each the maximum of its share; a value that is not finite is a blank."""
    step = -(-len(values) // _BARS_MAX)
    shares = [max(values[at : at + step]) for at in range(0, len(values), step)]
    finite = [value for value in shares if abs(value) < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] if abs(value) < float("inf") else " " for value in shares)
