"""Limits how much CPU a process gets, through Linux control groups, so that small machines can stand for larger ones.

A group gives a process and its later children a quota in each period of 10 ms. Needs root.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.harness.cluster import BenchError

GROUPS: Final = Path("/sys/fs/cgroup")
PERIOD_US: Final = 10_000


@contextmanager
def limited(pids: Sequence[int], cores: float, groups: Path = GROUPS) -> Iterator[None]:
    """Each of the processes gets so many cores, for as long as the context lasts. groups: where control groups are
    mounted. Raises: BenchError if the system has no such limits, or does not let us set them
    """
    with ExitStack() as stack:
        for pid in pids:
            stack.enter_context(_group(pid, cores, groups))
        yield


@contextmanager
def _group(pid: int, cores: float, groups: Path) -> Iterator[None]:
    first = groups / "cpu" if (groups / "cpu").is_dir() else groups  # version 1, else 2
    folder = first / f"stretto-bench-{pid}"
    quota_us = round(cores * PERIOD_US)
    try:
        folder.mkdir()
    except OSError as error:
        raise BenchError(f"cannot limit CPU: no control group in {first}: {error}") from error
    try:
        if first == groups:
            (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota_us))
        (folder / "cgroup.procs").write_text(str(pid))
        yield
    except OSError as error:
        raise BenchError(f"cannot limit CPU by {folder}: {error}") from error
    finally:
        for member in (folder / "cgroup.procs").read_text().split():
            (first / "cgroup.procs").write_text(member)
        folder.rmdir()  # its files are none; empty groups alone can go
