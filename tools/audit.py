"""`make audit`: known vulnerabilities of what is locked, and whether they could be asked for at all.

Exit status 0: none are known; 1: some are; 2: a database could not be asked, which says nothing of the packages.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOUND, NOT_ASKED = 1, 2
TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Audit:
    """name: of what is audited. command: prints JSON"""

    name: str
    command: Sequence[str]


AUDITS: Final = (
    Audit(
        "Python packages (requirements.txt)",
        # --strict: a package that cannot be asked for is a failure, not a pass.
        (
            *(sys.executable, "-m", "pip_audit", "--strict", "--require-hashes", "--disable-pip", "--format", "json"),
            *("--progress-spinner", "off", "--requirement", "requirements.txt"),
        ),
    ),
    Audit(
        "packages of the web page (app/ui/package-lock.json)",
        (
            *("tools/with-node", "npm", "--prefix", "app/ui", "audit", "--omit", "dev", "--json"),
            *("--fetch-retries=1", "--fetch-timeout=30000"),
        ),
    ),
)


def main(audits: Sequence[Audit] = AUDITS, timeout_s: float = TIMEOUT_S) -> int:
    """Prints a line for each vulnerability, and one for each audit. Returns the exit status."""
    statuses = [_run(one, timeout_s) for one in audits]
    return FOUND if FOUND in statuses else max(statuses)


def _run(audit: Audit, timeout_s: float) -> int:
    try:
        done = subprocess.run(  # noqa: S603 our own arguments
            audit.command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        output, complaint = done.stdout, done.stderr.strip() or done.stdout.strip()
    except subprocess.TimeoutExpired:
        output, complaint = "", f"no answer in {timeout_s:g} s"
    found = vulnerabilities(output)
    if found is None:
        last = "\n".join(complaint.splitlines()[-3:])
        _say("warning", f"{audit.name}: NOT CHECKED, the database of vulnerabilities could not be asked: {last}")
        return NOT_ASKED
    for line in found:
        _say("error", f"{audit.name}: {line}")
    if not found:
        _say("", f"{audit.name}: no vulnerability is known")
    return FOUND if found else 0


def vulnerabilities(output: str) -> list[str] | None:
    """A line for each, of what pip-audit or npm audit prints; None if that is no answer."""
    try:
        said: Any = json.loads(output)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    if isinstance(packages := said.get("dependencies"), list):  # of pip-audit
        if any("skip_reason" in one for one in packages):
            return None
        return [
            f"{one['name']} {one.get('version', '')}: {each['id']}, mended in {_versions(each)}"
            for one in packages
            for each in one.get("vulns", [])
        ]
    if isinstance(packages := said.get("vulnerabilities"), dict):  # of npm
        return [f"{name} {one['range']}: {one['severity']}" for name, one in packages.items()]
    return None


def _versions(vulnerability: Any) -> str:
    return ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"


def _say(kind: str, line: str) -> None:
    """Also as an annotation, where GitHub's runner reads what is printed."""
    if kind and os.environ.get("GITHUB_ACTIONS"):
        line = f"::{kind}::{line}".replace("\n", "%0A")
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
