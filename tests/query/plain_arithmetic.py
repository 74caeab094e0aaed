"""Arithmetic of the plain evaluator: one value with another."""

import math
from typing import Any


def _family(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _calculate(op: str, a: Any, b: Any) -> Any:
    value = _unlimited(op, a, b)
    return None if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def _unlimited(op: str, a: Any, b: Any) -> Any:
    whole = isinstance(a, int) and isinstance(b, int)
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "^":
            return float(a) ** float(b)
    if b == 0:
        return None
    if op == "/":
        return int(a / b) if whole else a / b
    return int(math.fmod(a, b)) if whole else math.fmod(a, b)
