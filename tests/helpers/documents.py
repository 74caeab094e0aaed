"""The fenced blocks of the documents: README.md, docs/ and the others that people read.

A block says its language. One of commands (`sh`, `bash`, `console`) is run against a server, unless a line above it
says why not:

    <!-- not run: docker -->

The word is one of NOT_RUN. In `console`, lines that begin with `$ ` are commands, those after `> ` go on with one, and
the rest is what the command prints.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Final

from tests.helpers.files import ROOT

DOCUMENTS: Final = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md")
    if path.name != "CHANGELOG.md"
)
COMMANDS: Final = frozenset({"sh", "bash", "console"})
# Languages that a test reads, and those of which nothing can be checked here.
PARSED: Final = frozenset({"json", "yaml", "yml", "traceql", "traceql-refused", "python"})
PROSE: Final = frozenset({"text", "sql", "promql", "js", "go", "csharp", "ruby", "php", "rust", "java", "ini", "toml"})
# Why commands are not run → the programs that are the reason: one of them is in the block.
NOT_RUN: Final = {
    "start": ("make", "run", "prometheus", "honcho", "faust", "vulture"),  # starts a server of its own, or takes long
    "install": ("pip", "npm", "apt-get", "opentelemetry-bootstrap", "gem", "pecl", "composer", "cargo", "go", "dotnet"),
    "app": ("opentelemetry-instrument", "node", "java", "python", "php", "export"),  # the reader's own program
    "docker": ("docker",),
    "kubernetes": ("kubectl", "helm"),
    "kafka": ("kafka-topics.sh", "kafka-consumer-groups.sh", "kafka-configs.sh"),
    "systemd": ("systemctl", "journalctl"),
    "cloud": ("aws", "gcloud", "az", "import"),
    "grpcurl": ("grpcurl",),
    "duckdb": ("duckdb",),
    "development": ("pytest", "tools/with-node", "python", "pre-commit", "make", ".ci/run"),
    "bucket": ("blocks",),  # of a storage that the reader has
    "files": ("config",),  # the reader's own settings
}
_FENCE: Final = re.compile(r"^( *)(`{3,}|~{3,})([^\s`]*)(.*)$")
_MARK: Final = re.compile(r"<!-- not run: (\S+) -->")
_ALONE: Final = re.compile(r"\s*(?:\$ |\.venv/bin/)?(?:stretto|curl|docker|helm|kubectl|make|python -m) \S+ (?:-|')")
_ASSIGNMENT: Final = re.compile(r"^[A-Za-z_]\w*=")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. line: of its first fence, from 1"""

    path: Path
    line: int
    language: str
    text: str
    not_run: str = ""
    answer: str = field(default="", compare=False)  # the block of JSON that follows at once

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Step:
    """A command line of a block, and what it prints as the document shows it."""

    command: str
    shown: str


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document. Raises: AssertionError if one does not end"""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    mark, number = "", 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            marked = _MARK.search(lines[number])
            mark = marked[1] if marked else mark if not lines[number].strip() else ""
            number += 1
            continue
        indent, ticks, language, _ = fence.groups()
        end = next((at for at in range(number + 1, len(lines)) if lines[at].strip() == ticks), None)
        assert end is not None, f"{path}:{number + 1}: the block does not end"
        text = "".join(f"{line.removeprefix(indent)}\n" for line in lines[number + 1 : end])
        found.append(Block(path, number + 1, language, text, mark))
        mark, number = "", end + 1
    return [_with_answer(one, after, lines) for one, after in zip_longest(found, found[1:])]


def all_blocks() -> list[Block]:
    """Those of all documents."""
    return [block for path in DOCUMENTS for block in blocks(path)]


def code_without_fence(path: Path) -> list[int]:
    """Lines, from 1, that are code without a fence, so that nothing would check them: indented, or a command alone."""
    found, fenced, text_at, empty = [], False, 0, True
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and line.strip():
            indent = len(line) - len(line.lstrip())
            if empty and (indent >= text_at + 4 or _ALONE.match(line)):
                found.append(number)
            item = re.match(r"\s*([-*+]|\d+\.) +", line)
            text_at = item.end() if item else text_at if indent else 0  # where the text of a list's item begins
        empty = not line.strip()
    return found


def steps(block: Block) -> list[Step]:
    """The commands of a block, one after the other. Of `sh` and `bash` the whole block is one."""
    if block.language != "console":
        return [Step(block.text, "")]
    found: list[Step] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append(Step(line[2:], ""))
        elif line.startswith("> ") and found and not found[-1].shown:
            found[-1] = Step(found[-1].command + line[2:], "")
        else:
            assert found, f"{block}: a block of `console` begins with `$ `"
            found[-1] = Step(found[-1].command, found[-1].shown + line)
    return found


def commands(script: str) -> list[list[str]]:
    """The simple commands of a script as words, without variables before them, redirections and comments."""
    found = []
    for part in _parts(script):
        words = shlex.split(part, comments=True)
        while words and (_ASSIGNMENT.match(words[0]) or words[0] in {"(", "{", "!", "then", "do", "else", "time"}):
            words.pop(0)
        if words:
            found.append(words)
    return found


def _parts(script: str) -> Iterator[str]:
    """A script, split where a command ends: at ; & | and line ends that are neither quoted nor in $( )."""
    part, quote, depth, at = "", "", 0, 0
    script = script.replace("\\\n", " ")
    while at < len(script):
        char = script[at]
        if char == "\\" and quote != "'":
            part += script[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (not part or part[-1].isspace()):
            at = script.find("\n", at) if "\n" in script[at:] else len(script)
            continue
        depth += (char == "(") - (char == ")") if not quote else 0
        if not quote and depth == 0 and char in ";&|\n":
            yield part
            part = ""
        else:
            part += char
        at += 1
    yield part


def _with_answer(block: Block, after: Block | None, lines: list[str]) -> Block:
    """A block of commands with the block of JSON that only empty lines part from it."""
    if block.language not in COMMANDS or after is None or after.language != "json":
        return block
    end = block.line + block.text.count("\n") + 1
    if any(line.strip() for line in lines[end : after.line - 1]):
        return block
    return Block(block.path, block.line, block.language, block.text, block.not_run, after.text)
