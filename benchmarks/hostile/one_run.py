"""One run against a Stretto of its own, whose folder stays where something broke."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.harness.cluster import BenchError, Cluster


def one_run(settings: Mapping[str, str], run: Callable[[Cluster], Sequence[str]]) -> int:
    """The exit status: 1 if `run` says that something broke, which is printed. settings: environment variables"""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        with Cluster(folder, settings) as cluster:
            problems = run(cluster)
    except BenchError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"BROKEN: {problem}")
    if problems:
        print(f"kept for a look: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0
