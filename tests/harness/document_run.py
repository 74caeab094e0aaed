"""Runs the commands of a document against a cluster, and compares what they print with what the document shows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.harness.cluster import Cluster
from tests.helpers.documents import COMMANDS, Block, Step, blocks, steps

RUN_S: Final = 120
# curl ends with status 22 for 400 and more, but prints the answer.
_CURL: Final = "fail-with-body\n"
# What differs each time: ids, times, numbers with their unit; and how wide a column is.
_DIFFERS: Final = re.compile(
    r"(?P<id>\b(?=[a-f]*\d)[0-9a-f]{16,32}\b)|(?P<time>\d{4}-\d\d-\d\d[ T][\d:.]+)"
    r"|(?P<number>(?<![\w.])\d+(?:\.\d+)?(?:e[+-]\d+)?(?:ns|us|µs|ms|s|m)?(?![\w.]))|(?P<any>…)|(?P<space>\s+)"
)
_PATTERNS: Final = {
    "id": r"([0-9a-f]{1,32})",
    "time": r"\d{4}-\d\d-\d\d[ T][\d:.]+",
    "number": r"[\d.]+(?:e[+-]\d+)?(?:ns|us|µs|ms|s|m|h)*",
    "any": r".*",
    "space": r"\s+",
}


class DocumentRun:
    """One reader, who follows one document from its first command to its last. Variables stay from block to block."""

    def __init__(self, cluster: Cluster, path: Path, folder: Path) -> None:
        """`folder`: empty; commands run there."""
        self._blocks = blocks(path)
        self._folder = folder
        self._ids: dict[str, str] = {}  # as the document shows them → as they are here
        self._ports = {
            "3200": cluster.http_url,
            "4317": cluster.otlp_address,
            "4318": cluster.otlp_http_url,
            "5778": cluster.receivers["jaeger_sampling"],
            "9411": cluster.receivers["zipkin"],
        }
        (folder / ".curlrc").write_text(_CURL)
        programs = str(Path(sys.executable).parent)
        self._environment = {
            **cluster.environment,
            "CURL_HOME": str(folder),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def __iter__(self) -> Iterator[tuple[Block, Step]]:
        """What is to be run, in order."""
        for block in self._blocks:
            if block.language in COMMANDS and not block.not_run:
                yield from ((block, step) for step in steps(block))
            elif block.language == "python" and "127.0.0.1:431" in block.text:
                yield block, Step(block.text, "")

    def run(self, block: Block, step: Step) -> str:
        """Returns what is wrong, "" if nothing is."""
        command = self._here(step.command)
        if block.language == "python":
            argv = [sys.executable, "-c", command]
        else:
            variables = self._folder / "variables"
            before = f". {variables}\n" if variables.exists() else ""
            after = f'\nstatus=$?; declare -p NOW ETAG > {variables} 2> /dev/null; exit "$status"'
            argv = ["bash", "-o", "pipefail", "-c", f"{before}{_with_url(command, self._ports['3200'])}{after}"]
        ran = subprocess.run(
            argv, capture_output=True, text=True, timeout=RUN_S, cwd=self._folder, env=self._environment
        )
        if ran.returncode:
            return f"{block}: {step.command}ends with status {ran.returncode}: {ran.stderr[-500:]}{ran.stdout[-500:]}"
        missing = unlike(step.shown, ran.stdout, self._ids)
        return f"{block}: {step.command}does not print: {missing}\nbut\n{ran.stdout[:3000]}" if missing else ""

    def _here(self, command: str) -> str:
        """With the ports of the cluster and the ids that commands before have printed."""
        for port, address in self._ports.items():
            command = re.sub(rf"(?<=127\.0\.0\.1:){port}\b", address.rpartition(":")[2], command)
        for shown, own in self._ids.items():
            command = command.replace(shown, own)
        return command


def unlike(shown: str, printed: str, ids: dict[str, str]) -> str:
    """The first line of `shown` that `printed` does not have in this place, "" if there is none.

    A line `…` stands for any number of lines, `…` within a line for anything. Ids, times and numbers are others each
    time; `ids` gets the new ones by those that were shown.
    """
    lines, at, anywhere = printed.splitlines(), 0, False
    for line in shown.splitlines():
        if line.strip() == "…":
            anywhere = True
            continue
        pattern = _pattern(line)
        places = range(at, len(lines)) if anywhere else range(at, min(at + 1, len(lines)))
        found = next(((place, match) for place in places if (match := pattern.fullmatch(lines[place]))), None)
        if found is None:
            return line or "an empty line"
        shown_ids = [part["id"] for part in _DIFFERS.finditer(line) if part["id"]]
        ids.update(zip(shown_ids, found[1].groups(), strict=True))
        at, anywhere = found[0] + 1, False
    return f"the end, but {lines[at]}" if shown and not anywhere and at < len(lines) else ""


def _pattern(line: str) -> re.Pattern[str]:
    found, at = "", 0
    for part in _DIFFERS.finditer(line):
        found += re.escape(line[at : part.start()]) + _PATTERNS[str(part.lastgroup)]
        at = part.end()
    return re.compile(found + re.escape(line[at:]) + r"\s*")


def _with_url(script: str, url: str) -> str:
    """`stretto query` of a script asks this server: a shell function adds the option that the reader leaves out."""
    asked = f'if [ "$1" = query ]; then command stretto "$@" --url {url}; else command stretto "$@"; fi'
    return f"stretto() {{ {asked}; }}\n{script}"
