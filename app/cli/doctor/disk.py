"""The check `disk`: whether the data folder can be written, its space, and how long a write takes to be safe."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.settings import Settings

_FREE_MIN_BYTES: Final = 1 << 30
_FREE_SHARE: Final = 0.1
_INODES_SHARE: Final = 0.02
_SYNC_SLOW_S, _SYNC_WRONG_S = 0.05, 1.0
_WRITES: Final = 5
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Disk:
    """free, total: bytes; inodes_free: share of them, from 0 to 1; sync_s: median time of a small write and fsync"""

    free: int
    total: int
    inodes_free: float
    sync_s: float


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """The file system of `data_dir`."""
    folder = here.settings.data_dir
    try:
        return judged(here.settings, measured(folder))
    except OSError as err:
        text = f"{folder} cannot be written: {err.strerror or err}"
        return [wrong("data folder", text, "make it writable for the user that runs Stretto, or set STRETTO_DATA_DIR")]


def measured(folder: Path) -> Disk:
    """Looks at the folder, or the one that is there in which it will be made. Raises: OSError"""
    while not folder.exists():
        folder = folder.parent
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_WRITES):
            started_s = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started_s)
    usage, system = shutil.disk_usage(folder), os.statvfs(folder)
    inodes = system.f_favail / system.f_files if system.f_files else 1.0
    return Disk(usage.free, usage.total, inodes, statistics.median(times))


def judged(settings: Settings, disk: Disk) -> list[Diagnosis]:
    """The verdicts on what was measured."""
    folder = settings.data_dir
    return [ok("data folder", f"{folder} can be written"), _space(settings, disk), *_inodes(disk), _sync(disk)]


def needed_bytes(settings: Settings) -> int:
    """Bytes that the process may take on its disk: segments, and in an outage those that wait; blocks come besides."""
    live = settings.live_store
    if "live-store" not in settings.targets:
        return 0
    # With blocks on the same disk no copies of them are kept.
    copies = live.local_copy_bytes_max if settings.storage.trace.backend != "local" else 0
    return live.segment_bytes_max + copies


def _space(settings: Settings, disk: Disk) -> Diagnosis:
    needed, text = needed_bytes(settings), f"{disk.free / _GIB:.1f} of {disk.total / _GIB:.1f} GiB are free"
    advice = "make room, or set STRETTO_DATA_DIR to a larger disk"
    if disk.free < _FREE_MIN_BYTES:
        return wrong("space", f"{text}: consumption pauses as soon as it is full", advice)
    if disk.free < _FREE_SHARE * disk.total:
        return warning("space", text, advice)
    if disk.free < needed:
        text = f"{text}; in a long outage of the object storage segments may take {needed / _GIB:.0f} GiB"
        return warning("space", text, f"{advice}, or lower live_store.segment_bytes_max")
    return ok("space", text)


def _inodes(disk: Disk) -> list[Diagnosis]:
    if disk.inodes_free < _INODES_SHARE:
        text = f"{disk.inodes_free:.1%} are free: no file can be made when none is left"
        return [warning("inodes", text, "delete small files, or make a file system with more inodes")]
    return []


def _sync(disk: Disk) -> Diagnosis:
    text = f"a write of 4 KiB is safe after {disk.sync_s * 1e3:.1f} ms"
    if disk.sync_s > _SYNC_WRONG_S:
        return wrong("fsync", f"{text}: too slow to keep up", "use a local SSD for STRETTO_DATA_DIR")
    if disk.sync_s > _SYNC_SLOW_S:
        return warning("fsync", text, "use a local SSD for STRETTO_DATA_DIR; a network file system is too slow")
    return ok("fsync", text)
