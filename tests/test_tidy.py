"""What a linter does not know of: sizes, names that stand once, open ends, lines of Markdown."""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("app", "agents", "query", "tables")
FOLDERS = (*PRODUCT, "tools", "benchmarks", "tests")
FILES = sorted(
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not path.name.endswith("_pb2.py")  # generated
)
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/*.md")]
)
TEXTS = [
    *FILES,
    *DOCUMENTS,
    *(Path(name) for name in ("Makefile", "pyproject.toml", "docker/compose.yaml", "docker/compose/common.yaml")),
]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 120

# Known exceptions, each with what to do about it. Keep these empty.
LONG_FILES: set[str] = set()
# The settings' sections are named as their keys in stretto.yaml (`live_store:` is LiveStore): a module `app.settings`.
OWN_NAMES = "app/settings/"
SAME_NAMES = {"Part"}


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path: Path) -> None:
    text = read(path)
    if str(path) not in LONG_FILES:
        assert text.count("\n") <= FILE_LINES_MAX, "one subject a file: split it"
    long = [
        f"{node.name}: {lines}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_what_is_left_to_do_has_an_issue(path: Path) -> None:
    """`TODO(#12): …`, so that somebody knows of it."""
    assert [line for line in read(path).splitlines() if re.search(r"\b(TO[D]O|FIX[M]E)\b(?!\(#\d+\))", line)] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in PRODUCT], ids=str)
def test_sets_are_sorted_arrays(path: Path) -> None:
    """Of numpy's functions those that hash: see tables.columns.sorted_sets."""
    calls = [node for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.Call)]
    hashing = [
        f"line {node.lineno}: {name}"
        for node in calls
        if (name := ast.unparse(node.func)) in {"np.union1d", "np.intersect1d", "np.setdiff1d", "np.setxor1d"}
        or (name == "np.unique" and not any((one.arg or "").startswith("return_") for one in node.keywords))
    ]
    assert hashing == [], "use tables.columns.sorted_sets"


def test_a_class_name_stands_once() -> None:
    """Of two classes of one name a reader takes one for the other."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        if path.parts[0] in PRODUCT and not str(path).startswith(OWN_NAMES):
            for node in ast.walk(ast.parse(read(path))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in SAME_NAMES} == {}


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in {"tests", "benchmarks"}], ids=str)
def test_nothing_imports_a_test_module(path: Path) -> None:
    """What tests share stands in tests/helpers or tests/harness, fixtures in a conftest.py."""
    modules = [node.module or "" for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.ImportFrom)]
    assert [name for name in modules if re.search(r"^tests\..*\b(test_\w+|conftest)$", name)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_lines_of_markdown_fit(path: Path) -> None:
    """Tables, blocks of code, and a word that has no space (an address) may be longer."""
    assert [f"{number}: {line}" for number, line in _prose(read(path)) if len(line) > COLUMNS_MAX and " " in line] == []


def _prose(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is neither of a table nor of a block of code."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.startswith("|"):
            yield number, line.strip()


def test_links_stay_within() -> None:
    """A link that is committed leads to a file of the repository, on whatever machine."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no working copy")
    listed = subprocess.run(("git", "ls-files", "-s"), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    links = [ROOT / line.partition("\t")[2] for line in listed.splitlines() if line.startswith("120000 ")]
    assert links, "there is one in docker/helm"
    assert [one for one in links if one.readlink().is_absolute() or not one.resolve().is_relative_to(ROOT)] == []
