"""The program of another revision, beside the one of now: both as folders that PYTHONPATH names."""

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.__main__ import PROJECT
from tests.harness.cluster import BenchError

PACKAGES: Final = ("app", "agents", "query", "tables")
LOCK: Final = "requirements.txt"
SHORT: Final = 8  # digits of a commit's name that are shown


@dataclass(frozen=True, slots=True)
class Code:
    """What a process runs.

    name: for people. folder: of the packages. python: the interpreter, with what the packages need
    """

    name: str
    folder: Path
    python: str = sys.executable

    @property
    def variables(self) -> dict[str, str]:
        """The environment variable that makes Python run it."""
        return {"PYTHONPATH": str(self.folder)}


def of_now(folder: Path) -> Code:
    """A copy: processes that are started later must be what was started first, though somebody edits the files
    meanwhile.
    """
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return Code("the present", folder)


def former(revision: str, folder: Path, project: Path = PROJECT) -> tuple[Code, str]:
    """A revision out of git, and what was done about its dependencies, in words.

    Where its lock is another one, a virtual environment is made of that lock; where that fails, the revision runs with
    the packages of now. Raises: BenchError where git does not have it
    """
    commit = resolved(revision, project)
    archive = _git(["archive", "--format=tar", commit, *PACKAGES, LOCK], project)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    python, words = sys.executable, "its lock is the present one"
    if (folder / LOCK).read_bytes() != (project / LOCK).read_bytes():
        python, words = _own_environment(folder)
    return Code(commit[:SHORT], folder, python), words


def resolved(revision: str, project: Path = PROJECT) -> str:
    """The commit's whole name. Raises: BenchError, with the reason, where git or this history does not have it"""
    try:
        name = _git(["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], project)
    except BenchError as error:
        if str(error):
            raise
        shallow = _is_shallow(project)
        raise BenchError(
            f"revision {revision} is not in the git history of {project}"
            + (", which is shallow: git fetch --unshallow" if shallow else "")
        ) from None
    return name.decode().strip()


def _is_shallow(project: Path) -> bool:
    return _git(["rev-parse", "--is-shallow-repository"], project).strip() == b"true"


def _git(arguments: Sequence[str], project: Path) -> bytes:
    """Raises: BenchError with what git says, which may be nothing"""
    if not (project / ".git").exists():
        raise BenchError(f"{project} is no git checkout: a former revision needs git's history")
    try:
        done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, check=False)
    except FileNotFoundError:
        raise BenchError("git is not installed: a former revision needs it") from None
    if done.returncode:
        raise BenchError(done.stderr.decode(errors="replace").strip())
    return done.stdout


def _own_environment(folder: Path) -> tuple[str, str]:
    """The interpreter for a revision whose lock is another one, and the words for the report."""
    venv = folder / "venv"
    python = venv / "bin" / "python"
    pip = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--retries=1",
        "--require-hashes",
    ]
    for command in ([sys.executable, "-m", "venv", str(venv)], [*pip, "--requirement", str(folder / LOCK)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            return sys.executable, f"its lock is another one, which cannot be installed ({last}): packages of now"
    return str(python), "its lock is another one: a virtual environment of that"
