"""What the page computes: unit tests, types, and that its forms say to the product's parser what queries say."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from query.errors import TraceQLError
from query.language import ast
from query.language.check import check
from query.language.parse import parse
from tests.helpers.files import ROOT

UI = ROOT / "app/ui"
WITH_NODE = ROOT / "tools/with-node"


def run(*argv: str) -> str:
    """What a command of Node prints. Fails with its words if it fails."""
    if not (UI / "node_modules").is_dir() or (shutil.which("node") is None and not (ROOT / "build/node").is_dir()):
        reason = "the unit tests of the page need Node and its packages: make ui"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run([str(WITH_NODE), *argv], cwd=UI, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_unit_tests_of_the_page() -> None:
    assert "# fail 0" in run("node", "test.mjs")


def test_types_of_the_page() -> None:
    run("node", str(Path("node_modules/typescript/bin/tsc")), "--noEmit")


def conditions(query: str) -> list[str]:
    """The conditions of a query that is one filter, sorted: a form has its own order of them."""
    root = parse(query).root
    assert isinstance(root, ast.Pipeline)
    (stage,) = root.stages
    assert isinstance(stage, ast.Filter), query
    return sorted(_operands(stage))


def _operands(node: object) -> list[str]:
    match node:
        case ast.Logic(op="&&", operands=operands):
            return [text for one in operands for text in _operands(one)]
        case ast.Filter(condition=condition):
            return [] if condition is None else _operands(condition)
        case _:
            return [repr(node)]


@pytest.fixture(scope="module")
def printed() -> list[dict]:
    lines = [json.loads(line) for line in run("node", "test.mjs", "print_forms.ts").splitlines()]
    assert len(lines) > 300
    return lines


def test_forms_say_what_the_query_says(printed: list[dict]) -> None:
    compared = 0
    for one in printed:
        if one["form"] is None:
            continue
        try:
            check(parse(one["query"]))
        except TraceQLError:
            continue  # the form must not mend what is wrong
        check(parse(one["form"]))
        assert conditions(one["form"]) == conditions(one["query"]), one
        compared += 1
    assert compared > 100


def test_a_condition_that_is_added_leaves_a_valid_query(printed: list[dict]) -> None:
    added, wrong = 0, []
    for one in printed:
        try:
            check(parse(one["query"]))
        except TraceQLError:
            continue
        if (" | " in one["query"] and one["query"].lstrip().startswith("(")) or one["query"][0] in "-0123456789":
            continue  # arithmetic with metrics has no spans of its own
        try:
            check(parse(one["added"]))
        except TraceQLError as err:
            wrong.append(str(err))
        assert "span.added" in one["added"]
        added += 1
    assert wrong == []
    assert added > 200
