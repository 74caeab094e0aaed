"""How many worker processes this machine can use."""

import os
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from app.settings import Settings

# A worker takes up to 700 MB with the default limits.
_WORKER_BYTES: Final = 1 << 30
_CGROUP: Final = Path("/sys/fs/cgroup")


def worker_count(settings: Settings) -> int:
    """What the setting `workers` says, else what fits this machine."""
    return settings.workers or fitting(cpus(), memory_bytes())


def fitting(cpus_: float, memory: int) -> int:
    """One less than there are CPUs: Kafka and the system need some. A worker computes on 1.3 of them at most."""
    return max(1, min(int(cpus_) - 1, memory // _WORKER_BYTES))


def cpus(cgroup: Path = _CGROUP) -> float:
    """CPUs that this process may use: those that it may run on, and no more than its cgroup's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        return min(float(allowed), int(quota) / int(period))
    return float(allowed)


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory of the machine, and no more than the cgroup's limit."""
    limit, total = _read(cgroup / "memory.max"), int(psutil.virtual_memory().total)
    return min(total, int(limit)) if limit.isdigit() else total


def with_partitions(settings: Settings, workers: int) -> Settings:
    """At least a partition for each worker in the topics that are made, unless the settings say how many."""
    kafka = settings.kafka
    if "partitions" in kafka.model_fields_set or kafka.partitions >= workers:
        return settings
    return settings.model_copy(update={"kafka": kafka.model_copy(update={"partitions": workers})})


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
