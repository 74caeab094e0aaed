"""Runs a benchmark as a child process, as its command in the Makefile does, and reads its report."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.files import ROOT


def benchmark_report(module: str, arguments: Sequence[str], folder: Path) -> str:
    """The report of a run that ends well; else an assertion fails with what it printed.

    module: with an option `--out`. folder: of the report
    """
    out = folder / "report.txt"
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    return out.read_text()
