"""Runs a target in a process that is forked with everything imported: to import it takes longer than a short run."""

import os
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

_TIMEOUT_S = 120.0


class Ran(NamedTuple):
    """How a process has ended. status: as of `Process.exitcode`, None: not at all; errors: what it said of them"""

    status: int | None
    errors: str


def run_forked(arguments: list[str], folder: Path) -> Ran:
    """Runs `tests.fuzz.child` with these arguments. folder: for temporary files, whichever way the process ends"""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.targets", "benchmarks.hostile.mutate"])
    process = context.Process(target=_run, args=(arguments, folder))
    process.start()
    process.join(_TIMEOUT_S)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    return Ran(status, _errors(folder).read_text(errors="replace"))


def _errors(folder: Path) -> Path:
    return folder / "errors"


def _run(arguments: list[str], folder: Path) -> None:
    from tests.fuzz.child import main

    with _errors(folder).open("wb") as errors:
        os.dup2(errors.fileno(), 2)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    raise SystemExit(main(arguments))
