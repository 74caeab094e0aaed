"""Measures processes, the worker's counters, and sizes on disk. Needs Linux's /proc."""

import os
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

PROC: Final = Path("/proc")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

# The worker's counters, summed over tenants and partitions.
RECEIVED: Final = "stretto_spans_received_total"
SEARCHABLE: Final = "stretto_live_store_spans_appended_total"
FLUSHED: Final = "stretto_block_spans_flushed_total"

# A segment of Kafka's log is named by its first offset; RocksDB's logs have shorter names.
PARTITION_FOLDER: Final = re.compile(r"(?P<topic>.+)-(?P<partition>\d+)")
LOG_SEGMENT: Final = re.compile(r"\d{20}\.log")


@dataclass(frozen=True, slots=True)
class Process:
    """A snapshot. `name`: kafka, worker, supervisor, or else the program's own name."""

    pid: int
    name: str
    cpu_s: float  # user and system, since the process began
    peak_bytes: int  # resident, at its highest (VmHWM)


def processes(root_pid: int, proc: Path = PROC) -> list[Process]:
    """`root_pid` (the supervisor) and all that descend from it, without those that end meanwhile."""
    parents = {}
    for entry in proc.iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name), proc)):
            parents[int(entry.name)] = int(fields[1])
    family = {root_pid}
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    found = (process(pid, root_pid, proc) for pid in sorted(family))
    return [one for one in found if one]


def process(pid: int, root_pid: int, proc: Path = PROC) -> Process | None:
    """None where it has ended."""
    fields = stat(pid, proc)
    try:
        command = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        status = (proc / str(pid) / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if not fields or not peak:  # a zombie has no memory
        return None
    name = "supervisor" if pid == root_pid else process_name(command)
    return Process(pid, name, (int(fields[11]) + int(fields[12])) / TICKS_PER_S, int(peak[1]) * 1024)


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Memory that a process holds now (VmRSS); 0 where it has ended."""
    try:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", (proc / str(pid) / "status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


def disk_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; files that go meanwhile are left out."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def process_name(command: list[str]) -> str:
    """What a command line is: the broker, the Faust worker, or the program's own name."""
    if any(word.startswith(("kafka.Kafka", "org.apache.kafka")) for word in command):
        return "kafka"
    if "worker" in command:
        return "worker"
    return Path(command[0]).name


def stat(pid: int, proc: Path = PROC) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on; None where the process has ended."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()  # the second, the command's name, may hold spaces


@dataclass(frozen=True, slots=True)
class Counts:
    """How many spans the worker has received, made searchable, written to blocks, since it started."""

    received: int
    searchable: int
    flushed: int


def counts(metrics_url: str) -> Counts:
    """Ask the worker; a counter that it does not have yet is 0. Raises OSError where it does not answer."""
    with urllib.request.urlopen(metrics_url, timeout=10) as answer:
        sums = sample_sums(answer.read().decode())
    return Counts(*(int(sums.get(name, 0)) for name in (RECEIVED, SEARCHABLE, FLUSHED)))


def sample_sums(text: str) -> Mapping[str, float]:
    """Prometheus' text format → name of the sample → sum over its series."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def kafka_bytes(data_dir: Path, topic: str = "spans") -> int:
    """Bytes of a topic's log segments under the data folder, without their indexes."""
    total = 0
    for log in data_dir.rglob("*.log"):
        folder = PARTITION_FOLDER.fullmatch(log.parent.name)
        if LOG_SEGMENT.fullmatch(log.name) and folder and folder["topic"] == topic:
            total += log.stat().st_size
    return total


def parquet_bytes(data_dir: Path) -> int:
    """Bytes of all blocks' Parquet files under the data folder."""
    return sum(file.stat().st_size for file in data_dir.rglob("*.parquet"))
