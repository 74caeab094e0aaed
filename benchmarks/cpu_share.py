"""Limits how much CPU a process gets, through Linux control groups, so that small machines can stand for larger ones.

A group gives a process and its later children a quota in each period of 10 ms. Needs root.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    is_version_1 = (groups / "cpu").is_dir()
    above = groups / "cpu" if is_version_1 else groups
    folder = above / f"stretto-bench-{pid}"
    try:
        folder.mkdir()
    except OSError as error:
        raise BenchError(f"cannot limit CPU: no control group in {above}: {error}") from error
    period, quota = str(PERIOD_US), str(round(cores * PERIOD_US))
    limits = {"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota}
    try:
        _write(folder, limits if is_version_1 else {"cpu.max": f"{quota} {period}"})
        _write(folder, {"cgroup.procs": str(pid)})
        yield
    finally:
        for member in (folder / "cgroup.procs").read_text().split():
            (above / "cgroup.procs").write_text(member)
        folder.rmdir()  # its files are none; empty groups alone can go


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        try:
            (folder / name).write_text(text)
        except OSError as error:
            raise BenchError(f"cannot limit CPU by {folder}: {error}") from error
