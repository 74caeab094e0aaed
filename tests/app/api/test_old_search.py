"""Tempo's parameters before TraceQL: any value that is written as in JSON is what is searched for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.errors import ParameterError
from app.api.tempo.old_search import old_query
from query.language import ast
from query.language.parse import parse


def compared(query: str) -> str:
    """The string of `{ .a = "…" }`, or of the first half of an `||`."""
    (stage,) = parse(query).root.stages
    condition = stage.condition
    if isinstance(condition, ast.Logic):
        condition = condition.operands[0]
    return condition.right.value


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_any_value(value, ascii_only):
    """As a parameter of a URL it comes back as it is."""
    assert compared(old_query({"tags": f"a={json.dumps(value, ensure_ascii=ascii_only)}"})) == value


@given(st.text(max_size=8))
def test_any_escape(text):
    """What JSON does not read is refused, what it reads is read alike."""
    quoted = f'"\\{text}"'
    try:
        wanted = json.loads(quoted, strict=False)
    except json.JSONDecodeError:
        wanted = None
    try:
        found = compared(old_query({"tags": f"a={quoted}"}))
    except ParameterError:
        found = None
    if wanted is not None and not any("\ud800" <= character <= "\udfff" for character in wanted):
        assert found == wanted
    elif wanted is None:
        assert found is None


@pytest.mark.parametrize("text", ["\\ud83d", "x\\ude00y"])
def test_half_a_character(text):
    """It is none."""
    assert "\ufffd" in compared(old_query({"tags": f'a="{text}"'}))
