"""A run with a report: in a folder of its own, which stays where something is wrong."""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import measure, workload
from benchmarks.__main__ import commit
from benchmarks.soak.report import Report, text
from tests.harness.cluster import BenchError

RESULTS: Final = Path(__file__).parents[1] / "results"
_INTERRUPTED: Final = 130


def reported(
    name: str,
    argv: Sequence[str],
    given: argparse.Namespace,
    settings: dict[str, str],
    run: Callable[[Path, Report], None],
) -> int:
    """Runs it, prints its report and writes it to a file. Out: the status of the process, 0 if all was right

    name: of the benchmark, as `make` has it. given: out, keep. run: gets the folder and fills the report
    """
    if not measure.PROC.is_dir():
        print(f"make {name} needs /proc, that is, Linux", file=sys.stderr)
        return 1
    workload.make_cache(workload.CACHE)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=workload.CACHE))
    now = datetime.now(UTC)
    report = Report(
        command=" ".join([f"python -m benchmarks.{name}", *argv]),
        date=now.isoformat(timespec="seconds"),
        commit=commit(),
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}",
        settings=settings,
        minutes=getattr(given, "minutes", 0.0),
    )
    try:
        run(folder, report)
    except BenchError as error:
        report.failure = str(error)
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        return _INTERRUPTED
    reply = text(report)
    out = given.out or RESULTS / f"{name}-{now:%Y-%m-%dT%H%M}.txt"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(reply)
    print(f"\n{reply}\nwritten to {out}")
    if given.keep or not report.right:
        print(f"kept for a look: {folder}")
    else:
        shutil.rmtree(folder)
    return 0 if report.right else 1
