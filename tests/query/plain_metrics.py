"""A second, plain evaluator of metrics: one span after the other, one sample after the other."""

import math
from collections import defaultdict
from typing import Any

from query.language import ast
from query.language.ast import Literal, Type
from query.language.check import type_of
from query.language.text import duration, expression
from query.language.words import KIND, STATUS
from tests.query.plain import COMPARE, Row, _value, grouped, pipeline
from tests.query.plain_arithmetic import _family

Series = dict[tuple[tuple[str, str], ...], list[float | None]]
MEASURED_IN_NS = (ast.Intrinsic("duration"), ast.Intrinsic("event:timeSinceStart"))


def series(node: ast.Metrics | Literal, traces: list[list[Row]], start_ns: int, end_ns: int, step_ns: int) -> Series:
    """Labels (as text) → a value or None for each multiple of the step. In: start and end are multiples, too."""
    count = (end_ns - start_ns) // step_ns + 1
    match node:
        case Literal():
            return {(): [float(node.value)] * count}  # type: ignore[arg-type]
        case ast.MetricsQuery():
            found: dict[Any, list[list[Row]]] = defaultdict(lambda: [[] for _ in range(count)])
            assert isinstance(node.function, ast.MetricsFunction)
            if not node.function.by and node.function.of is None:
                found[(("__name__", node.function.name),)] = [[] for _ in range(count)]
            for row in (row for trace in traces for rows in pipeline(node.spans, [trace]) for row in rows):
                if start_ns < row["start_ns"] <= end_ns and _measure(node.function, row) is not None:
                    key = _labels(node.function, row)
                    found[key][math.ceil((row["start_ns"] - start_ns) / step_ns)].append(row)
            return _lines(node.function, found, step_ns)
        case ast.MetricsFilter():
            bound = node.value.value / 1e9 if node.value.type is Type.DURATION else node.value.value  # type: ignore[operator]
            inner = series(node.of, traces, start_ns, end_ns, step_ns)
            holds = COMPARE[node.op]
            return {k: [v if v is not None and holds(v, bound) else None for v in line] for k, line in inner.items()}
        case ast.MetricsMath():
            left = series(node.left, traces, start_ns, end_ns, step_ns)
            right = series(node.right, traces, start_ns, end_ns, step_ns)
            return _math(node, left, right)
    raise AssertionError(node)


def _measure(function: ast.MetricsFunction, row: Row) -> Any:
    if function.of is None:
        return 1
    value = _value(function.of, row)
    if _family(value) != "number" or math.isnan(value):
        return None
    return value / 1e9 if function.of in MEASURED_IN_NS else value


def _labels(function: ast.MetricsFunction, row: Row) -> tuple[tuple[str, str], ...]:
    values = [(expression(by), _text(by, grouped(by, row))) for by in function.by]
    found = [(name, value) for name, value in values if value is not None]
    if function.name == "histogram_over_time":
        found.append(("__bucket", _bucket(function, row)))
    elif not found and function.name != "quantile_over_time":
        found = [(values[0][0], "nil") if values else ("__name__", function.name)]
    return tuple(found)


def _text(by: ast.FieldExpr, value: Any) -> str | None:
    if value is None:
        return None
    if type_of(by) is Type.DURATION and isinstance(value, int):
        return duration(value)
    for name, words in (("status", STATUS), ("kind", KIND)):
        if by == ast.Intrinsic(name):
            return {number: word for word, number in words.items()}[value]
    return str(value + 0.0 if isinstance(value, float) else value)


def _bucket(function: ast.MetricsFunction, row: Row) -> str:
    scale = 1e9 if function.of in MEASURED_IN_NS else 1.0
    value = round(_measure(function, row) * scale, 6)
    if math.isinf(value) and value > 0:
        return str(value)
    return str(0.0 if value <= 0 else 2.0 ** math.ceil(math.log2(value)) / scale)


def _lines(function: ast.MetricsFunction, found: dict[Any, list[list[Row]]], step_ns: int) -> Series:
    lines: Series = {}
    for key, cells in found.items():
        measures = [[_measure(function, row) for row in rows] for rows in cells]
        match function.name:
            case "rate":
                lines[key] = [len(cell) / (step_ns / 1e9) for cell in measures]
            case "count_over_time" | "histogram_over_time":
                lines[key] = [float(len(cell)) for cell in measures]
            case "quantile_over_time":
                for p in function.numbers:
                    lines[(*key, ("p", str(p)))] = [exact_quantile(cell, p) for cell in measures]
            case "avg_over_time":
                lines[key] = [sum(cell) / len(cell) if cell else None for cell in measures]
            case _:
                reduce = {"min": min, "max": max, "sum": sum}[function.name[:3]]
                lines[key] = [reduce(cell) if cell else None for cell in measures]
    return {key: [None if v is None or math.isnan(v) else v for v in line] for key, line in lines.items()}


def exact_quantile(values: list[float], p: float) -> float:
    """The value of rank ceil(p * n), at least the first; 0 of no values."""
    return float(sorted(values)[max(1, math.ceil(p * len(values))) - 1]) if values else 0.0


def _math(node: ast.MetricsMath, left: Series, right: Series) -> Series:
    plain = [
        {tuple(label for label in key if label[0] != "__name__"): v for key, v in s.items()} for s in (left, right)
    ]
    if isinstance(node.left, Literal):
        plain[0] = dict.fromkeys(plain[1], left[()])
    if isinstance(node.right, Literal):
        plain[1] = dict.fromkeys(plain[0], right[()])
    out: Series = {}
    for key in plain[0].keys() & plain[1].keys():
        pairs = zip(plain[0][key], plain[1][key], strict=True)
        out[key or (("__name__", "math"),)] = [_calculate(node.op, a, b) for a, b in pairs]
    return out


def _calculate(op: str, a: float | None, b: float | None) -> float | None:
    if a is None or b is None or (op == "/" and b == 0):
        return None
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else 0}[op]
