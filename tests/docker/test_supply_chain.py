"""What is shipped: licences that are allowed, hashes for everything, workflows with few rights."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.helpers.files import ROOT
from tools.licences import NOT_IN_IMAGE, licence_of, locked

ALLOWED: Final = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "PSF-2.0"),
    *("Unlicense", "Zlib"),
    "LicenseRef-Repoze",  # of venusian; as BSD-3-Clause, with a clause about trademarks
}
# OpenJDK's licence has the classpath exception; the image does not contain it.
ALLOWED_OUTSIDE: Final = ALLOWED | {"GPL-2.0-only"}
WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOW = pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])


def test_the_lock_is_read() -> None:
    assert {"aiohttp", "pyarrow", "faust-streaming"} <= set(locked())
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert sum("==" in line and not line.startswith((" ", "#")) for line in lines) == len(locked())


@pytest.mark.parametrize("name", sorted(locked()))
def test_licences_are_allowed(name: str) -> None:
    parts = set(re.findall(r"[\w.-]+", licence_of(name))) - {"AND", "OR"}
    assert parts, f"{name} does not say under which licence it is, or is not installed"
    assert parts <= (ALLOWED_OUTSIDE if name in NOT_IN_IMAGE else ALLOWED)


def test_everything_has_hashes() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for entry in re.split(r"(?m)^(?=[a-z0-9][\w.-]*(?:\[.*\])?==)", (ROOT / name).read_text())[1:]:
            assert "--hash=sha256:" in entry, entry.splitlines()[0]


@WORKFLOW
def test_actions_are_pinned(path: Path) -> None:
    used = re.findall(r"(?m)uses: (\S+)(.*)$", path.read_text())
    assert used
    for name, comment in used:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", name), name
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{name}: which version is it?"


@WORKFLOW
def test_workflows_have_few_rights(path: Path) -> None:
    flow: dict[Any, Any] = yaml.safe_load(path.read_text())
    assert flow["permissions"] in ({}, {"contents": "read"})
    assert flow.keys() <= {"name", True, "permissions", "concurrency", "jobs"}  # YAML reads `on` as true
    assert "pull_request_target" not in flow[True]
    for job in flow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        if "write" in job.get("permissions", {}).values():
            assert set(flow[True]) == {"push"}, "a pull request must not get rights to write"
        for step in job["steps"]:
            # What somebody else has chosen, as the name of a branch, comes to a shell in variables only.
            assert "${{" not in step.get("run", "")
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
