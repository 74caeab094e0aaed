"""Expressions and durations as answers show them."""

import pytest

from query.language import ast
from query.language.parse import parse
from query.language.text import duration, expression


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_500, "1.5µs"),
        (670_715, "670.715µs"),
        (100_000_000, "100ms"),
        (999_999_999, "999.999999ms"),
        (1_000_000_000, "1s"),
        (60_000_000_000, "1m0s"),
        (90_500_000_000, "1m30.5s"),
        (3_600_000_000_000, "1h0m0s"),
        (90_000_000_000_001, "25h0m0.000000001s"),
        (-5_000_000, "-5ms"),
    ],
)
def test_duration(ns: int, text: str) -> None:
    """As Go writes them: the largest unit below the value, from minutes on all units."""
    assert duration(ns) == text


@pytest.mark.parametrize(
    "text",
    [
        "span.a + 1",
        "(span.a + 1) * 2.5",
        'resource."a b"',
        r'.a"\"\\"',
        "-duration",
        "name = `x`",
        "status = error",
        "(kind = server) && (!span.ok)",
        "duration > 1m30s",
        ".x = nil",
        "span.ok = true",
        "event:name",
    ],
)
def test_expression(text: str) -> None:
    """Compounds inside of others stand in parentheses; the text means the same again."""
    (stage,) = parse(f"{{ }} | by({text})").root.stages[1:]  # type: ignore[union-attr]
    assert isinstance(stage, ast.GroupBy)
    shown = expression(stage.by)
    (again,) = parse(f"{{ }} | by({shown})").root.stages[1:]  # type: ignore[union-attr]
    assert again == stage
    assert shown == text or '"' in text
