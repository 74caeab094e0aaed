"""Every block of the documents is checked: commands are run (tests/cluster/test_documents.py) or say why not."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from app.settings import Settings
from app.settings.load import settle
from query.language.compile import compile_query
from tests.harness.document_run import unlike
from tests.helpers.command_check import problem, stretto_problem
from tests.helpers.documents import (
    COMMANDS,
    DOCUMENTS,
    NOT_RUN,
    PARSED,
    PROSE,
    Block,
    all_blocks,
    blocks,
    code_without_fence,
    commands,
    steps,
)
from tests.helpers.files import ROOT

BLOCKS = all_blocks()
# By their keys: the Collector's, Prometheus's rules, Grafana's data sources, and the file of `server.auth_file`.
OTHER_FILES = [{"exporters", "service"}, {"groups"}, {"apiVersion", "datasources"}, {"*", "acme"}]
# TraceQL within a sentence, and what only looks like it: schemes with letters, and what is said to be refused.
INLINE = re.compile(r"(?<!`)`(\{ [^`]*)`(?!`)")
NOT_QUERIES = {
    "{ … }",
    "{ a } && { b }",
    "{ a || b && c }",
    "{ (a || b) && c }",
    '{ duration = "1s" }',
    "{ status > 1 }",
}


def of(*languages: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [one for one in BLOCKS if one.language in languages], ids=str)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_block_escapes(path: Path) -> None:
    """Each has a language that a test knows, and a fence."""
    languages = {str(one): one.language for one in blocks(path)}
    assert {at: word for at, word in languages.items() if word not in COMMANDS | PARSED | PROSE} == {}
    assert code_without_fence(path) == [], "code without a fence: put it between ``` and its language"


@of(*COMMANDS)
def test_commands_are_of_the_shell(block: Block) -> None:
    for step in steps(block):
        ran = subprocess.run(["bash", "-n"], input=step.command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stderr


@of(*COMMANDS)
def test_commands_could_be_meant(block: Block) -> None:
    """Programs, files and options are there: of `stretto` by its own parser."""
    found = {" ".join(words): problem(words) for step in steps(block) for words in commands(step.command)}
    assert {command: text for command, text in found.items() if text} == {}


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.not_run], ids=str)
def test_what_is_not_run_says_why(block: Block) -> None:
    """The reason is one of those that are known, and true."""
    assert block.language in COMMANDS, "only commands are run"
    assert block.not_run in NOT_RUN, f"the reasons are {sorted(NOT_RUN)}"
    words = {word.rpartition("/")[2] for step in steps(block) for line in commands(step.command) for word in line[:2]}
    words |= {word for step in steps(block) for line in commands(step.command) for word in line[:1]}
    assert words & set(NOT_RUN[block.not_run]), f"it has nothing of {NOT_RUN[block.not_run]}: run it"


@of("json")
def test_json_parses(block: Block) -> None:
    json.loads(block.text)


@of("yaml", "yml")
def test_yaml_parses_and_settings_are_ours(block: Block) -> None:
    """A block is a settings file, or one of the files that others read."""
    loaded = yaml.safe_load(block.text)
    if set(loaded) in OTHER_FILES:
        return
    assert set(loaded) <= set(Settings.model_fields)
    if {"*", "team-a"} & set(loaded.get("overrides", {})):
        return  # the file of tenants: test_overrides.py
    try:
        Settings.model_validate(settle(loaded, Settings))
    except ValidationError as err:
        wrong = [one for one in err.errors() if "${" not in str(one["input"])]
        assert wrong == []


@of("traceql")
def test_traceql_compiles(block: Block) -> None:
    for query in block.text.strip().split("\n\n"):
        compile_query(query)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_traceql_in_sentences_compiles(path: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = {" ".join(one.replace("\\|", "|").split()) for one in INLINE.findall(prose)}
    for query in found - NOT_QUERIES:
        compile_query(query)


@of("python")
def test_python_parses(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("stretto query seek '{ }'", "invalid choice"),
        ("stretto query search --lmit 3", "unrecognized arguments"),
        ("stretto blocks check --mend", "unrecognized arguments"),
        ("stretto configg", "invalid choice"),
        ("make tset", "the Makefile has no"),
        ("docker compose --file docker/compose/none.yaml up", "there is no"),
        ("docker compose --file docker/compose/single/compose.yaml up grafanna", "no service"),
        ("docker compose --file docker/compose/single/compose.yaml exec streto stretto demo", "no service"),
        ("docker compose --file docker/compose/single/compose.yaml exec stretto stretto demo --too x", "unrecognized"),
        ("helm install stretto docker/helm/stretto --set kafka.addr=x", "values.yaml has no kafka.addr"),
        ("kubectl apply --kustomize docker/kustomize/bas", "there is no"),
        (".venv/bin/python -m benchmarks.nothing", "there is no module"),
        ("tools/nothing", "there is no"),
        ("curl http://127.0.0.1:3200/api/seek", "the API has no GET /api/seek"),
        ("curl -X PUT http://127.0.0.1:3200/api/overrides", "the API has no PUT"),
        ("curl -G http://127.0.0.1:3200/api/search -d 'q={ }' -d lmt=3", "no parameter ['lmt']"),
        ("curl 'http://127.0.0.1:3200/api/v2/traces/1f?q={}&crsr=1'", "no parameter ['crsr']"),
    ],
)
def test_wrong_commands_are_found(command: str, words: str) -> None:
    ((found),) = commands(command)
    assert words in problem(found)


def test_good_commands_are_not() -> None:
    assert stretto_problem(["query", "search", "{ }", "--since", "1h"]) == ""
    assert stretto_problem(["config", "--table"]) == ""
    assert stretto_problem(["demo", "--to", "127.0.0.1:4317"]) == ""


def test_scripts_are_split_into_commands() -> None:
    script = "A=1 B='x y' curl -d '\n{\"a\": 1}' # why\nfoo | bar --x \"$(date; true)\" && baz \\\n  --y\n# only this\n"
    assert commands(script) == [
        ["curl", "-d", '\n{"a": 1}'],
        ["foo"],
        ["bar", "--x", "$(date; true)"],
        ["baz", "--y"],
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "missing"),
    [
        ("NAME  VALUE\na  12.5ms\n", "NAME    VALUE\na       3s\n", ""),
        ("NAME  VALUE\n…\nb  1\n…\n", "NAME  VALUE\na  1\nb  7\nc  1\n", ""),
        ('{"value":1.5…\n', '{"value":22.0,"more":[]}', ""),
        ("NAME  VALUE\na  12\n", "NAME  COUNT\na  12\n", "NAME  VALUE"),
        ("NAME  VALUE\na  12\n", "NAME  VALUE\nb  12\n", "a  12"),
        ("…\nb  1\n", "a  1\nbb  1\n", "b  1"),
        ("a  1\n", "a  1\nb  1\n", "the end, but b  1"),
        ("a  1\nb  1\n", "a  1\n", "b  1"),
        ("p=0.5  1\n", "p=0.9  1\n", ""),
    ],
)
def test_what_commands_print_is_compared(shown: str, printed: str, missing: str) -> None:
    assert unlike(shown, printed, {}) == missing


def test_ids_of_answers_are_kept() -> None:
    ids: dict[str, str] = {}
    assert unlike("f88b4efcdefa2031b4135105e77a9c1a  x\n", "00000000000000000000000000000001  x\n", ids) == ""
    assert ids == {"f88b4efcdefa2031b4135105e77a9c1a": "00000000000000000000000000000001"}
