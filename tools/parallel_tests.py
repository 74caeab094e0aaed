"""Runs mypy and all tests as several processes at once: `make test`.

Tests of real clusters and of the browser mostly wait, and what they wait for has time limits. They run beside the tests
that compute, and go first wherever both want a processor. Each process writes its own log. What failed, what was
skipped, and one line for each process are printed at the end.

A few tests that failed run again, with nothing beside them. What passes then has failed for want of a processor, or by
a race: it does not fail the whole, and is named at the end all the same.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOGS: Final = ROOT / "build" / "tests"
WAITING_LANES: Final = 2  # a cluster takes about half a processor
NICENESS: Final = 5  # of what computes
SLOWEST_SHOWN: Final = 15  # in the log of each process
# A plugin whose import takes 2 s of CPU, and the one file that needs it.
_SLOW_PLUGIN, _ITS_TESTS = "schemathesis", "app/api/test_openapi.py"
_SKIPPED = re.compile(r"^(?:SKIPPED|XFAIL|XPASS) .*", re.MULTILINE)
_FAILED = re.compile(r"^(?:FAILED|ERROR) \S+\.py\b.*", re.MULTILINE)  # not ERROR of a log
_PROBLEMS = re.compile(r"^=+ (?:FAILURES|ERRORS) =+$", re.MULTILINE)
_LAST_LINES: Final = 80
AGAIN_MAX: Final = 8  # more failures than these have another reason than a busy machine
_TESTS_FAILED: Final = 1  # pytest's status; others say that it could not run them


@dataclass(frozen=True, slots=True)
class Share:
    """What one process runs: the tests in `paths`, which are files or folders below tests/."""

    name: str
    paths: tuple[str, ...]
    waits: bool = False  # for other processes, most of the time


# In the order of their start: the longest first. A file belongs to the share with the longest path that leads to it.
SHARES: Final = (
    Share("cluster", ("cluster",), waits=True),  # what shares one cluster, and files that no other share names
    Share("ui", ("ui",), waits=True),
    Share("cluster-security", ("cluster/test_kafka_security.py",), waits=True),
    Share("cluster-stalls", ("cluster/test_stalls.py",), waits=True),
    Share("cluster-chaos", ("cluster/test_chaos.py", "cluster/test_rolling_upgrade.py"), waits=True),
    Share("cluster-workers", ("cluster/test_workers.py", "cluster/test_more_partitions.py"), waits=True),
    Share("cluster-targets", ("cluster/test_targets.py", "cluster/test_replicas.py"), waits=True),
    Share("cluster-failures", ("cluster/test_failures.py", "cluster/test_disks.py"), waits=True),
    Share(
        "cluster-blocks",
        ("cluster/test_compaction.py", "cluster/test_iceberg.py", "cluster/test_procfile.py"),
        waits=True,
    ),
    Share("cluster-generator", ("cluster/test_generator.py", "cluster/test_tenants.py"), waits=True),
    Share("prometheus", ("prometheus",), waits=True),
    Share("cluster-receivers", ("cluster/test_kafka_receiver.py", "cluster/test_receivers_docs.py"), waits=True),
    Share("query", ("query",)),
    Share("tables", ("tables",)),
    Share("app", ("app",)),
    Share("agents", ("agents",)),
    Share("storage", ("tables/storage",)),
    Share("querying", ("app/querying",)),
    Share("benchmarks", ("benchmarks", "fuzz")),
    Share("rest", ("",)),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A command whose output goes to a log of its own."""

    name: str
    command: tuple[str, ...]
    waits: bool = False
    again: tuple[str, ...] = ()  # options of the command that make it run only what failed


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job has ended."""

    job: Job
    status: int
    wall_s: float
    cpu_s: float  # with all child processes that it has waited for
    output: str

    @property
    def failed(self) -> list[str]:
        """The lines that name what failed."""
        return _FAILED.findall(self.output)

    @property
    def line(self) -> str:
        """What the job says of itself, and what it took."""
        last = self.output.strip().rpartition("\n")[2].strip("= ")
        outcome = "ok    " if self.status == 0 else "FAILED"
        return f"{outcome} {self.job.name:17} {last} [{self.wall_s:.0f} s, CPU {self.cpu_s:.0f} s]"


def shares_of(files: Iterable[str], shares: Sequence[Share] = SHARES) -> dict[Share, list[str]]:
    """files: paths below tests/. Each is in exactly one share; a share without files is left out."""
    found: dict[Share, list[str]] = {share: [] for share in shares}
    for file in sorted(files):
        share = max(shares, key=lambda one: max((len(path) for path in one.paths if _leads_to(path, file)), default=-1))
        found[share].append(file)
    return {share: its for share, its in found.items() if its}


def _leads_to(path: str, file: str) -> bool:
    return path in {"", file} or file.startswith(f"{path}/")


def jobs(files: Iterable[str]) -> list[Job]:
    """One for mypy, one of pytest for each share."""
    pytest = (sys.executable, "-m", "pytest", f"--durations={SLOWEST_SHOWN}")
    made = []
    for share, its in shares_of(files).items():
        # Caches of their own: they would overwrite each other's.
        cache = ("-o", f"cache_dir={LOGS / 'caches' / share.name}")
        plugins = () if _ITS_TESTS in its else ("-p", f"no:{_SLOW_PLUGIN}")
        command = (*pytest, *cache, *plugins, *(f"tests/{file}" for file in its))
        made.append(Job(share.name, command, share.waits, ("--last-failed", "--last-failed-no-failures=none")))
    return [Job("types", (str(Path(sys.executable).with_name("mypy")),)), *made]


def again(ended: Sequence[Ended]) -> list[Job]:
    """What runs only the tests that failed; nothing, if anything else went wrong or many failed."""
    failed = [one for one in ended if one.status]
    few = sum(len(one.failed) for one in failed) <= AGAIN_MAX
    if not few or any(one.status != _TESTS_FAILED or not one.failed or not one.job.again for one in failed):
        return []
    return [Job(f"{one.job.name}-again", (*one.job.command, *one.job.again), waits=True) for one in failed]


@dataclass(slots=True)
class Runner:
    """Runs jobs in lanes. Each lane runs one job after the other."""

    logs: Path
    folder: Path = ROOT
    _running: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)
    _stopped: bool = False

    def run(self, wanted: Sequence[Job], computing_lanes: int, waiting_lanes: int = WAITING_LANES) -> list[Ended]:
        """Returns when all have ended. A lane that computes goes on with jobs that wait, and not the other way round:
        more jobs that compute than processors only disturb each other.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        waiting = deque(job for job in wanted if job.waits)
        computing = deque(job for job in wanted if not job.waits)
        lanes = [[waiting]] * waiting_lanes + [[computing, waiting]] * computing_lanes
        with ThreadPoolExecutor(len(lanes)) as pool:
            try:
                return [ended for lane in pool.map(self._lane, lanes) for ended in lane]
            finally:
                self._stop()

    def _lane(self, queues: Sequence[deque[Job]]) -> list[Ended]:
        ended: list[Ended] = []
        while not self._stopped and (job := _next(queues)):
            ended.append(self._run(job))
            say(ended[-1].line)
        return ended

    def _run(self, job: Job) -> Ended:
        path, started_s = self.logs / f"{job.name}.log", time.monotonic()
        nice = () if job.waits else ("nice", "-n", str(NICENESS))
        with path.open("wb") as log:
            # In a group of its own: Ctrl-C reaches it once, through us. After a second one pytest cleans nothing up.
            process = subprocess.Popen(  # noqa: S603  our own commands
                [*nice, *job.command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            with self._lock:
                self._running[process.pid] = process
            if self._stopped:
                process.send_signal(signal.SIGINT)
            # Not Popen.wait: it does not tell the CPU time.
            _, status, used = os.wait4(process.pid, 0)
            with self._lock:
                del self._running[process.pid]
            process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(
            job,
            process.returncode,
            time.monotonic() - started_s,
            used.ru_utime + used.ru_stime,
            path.read_text(errors="replace"),
        )

    def _stop(self) -> None:
        """By the signal after which pytest ends what its tests have started."""
        self._stopped = True
        with self._lock:
            for pid in self._running:
                os.kill(pid, signal.SIGINT)


def say(text: str) -> None:
    """Prints whole lines, whichever thread says them."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _next(queues: Sequence[deque[Job]]) -> Job | None:
    for queue in queues:
        try:
            return queue.popleft()
        except IndexError:
            continue
    return None


def report(ended: Sequence[Ended], repeated: Sequence[Ended] = ()) -> str:
    """Failures in full, then all that was skipped, then a line for each job, and the names of what failed.

    repeated: the jobs of `again`
    """
    failed = [one for one in ended if one.status]
    parts = [f"──── {one.job.name}\n{problems(one.output)}" for one in [*failed, *repeated] if one.status]
    parts += sorted(text for one in ended for text in _SKIPPED.findall(one.output))
    parts += ["", *(one.line for one in sorted([*ended, *repeated], key=lambda one: one.status != 0))]
    twice = {line.split(" - ")[0] for one in repeated for line in one.failed}
    for line in (line for one in failed for line in one.failed):
        alone = bool(repeated) and line.split(" - ")[0] not in twice
        parts.append(f"passed when it ran alone: {line}" if alone else line)
    return "\n".join(parts)


def problems(output: str) -> str:
    """The failures as pytest shows them; of another program, or where pytest did not come so far, its last lines."""
    if found := _PROBLEMS.search(output):
        return output[found.start() :].rstrip()
    return "\n".join(output.rstrip().splitlines()[-_LAST_LINES:])


def main() -> int:
    """Status 1 if anything failed."""
    # So that `kill` ends the tests, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    tests = ROOT / "tests"
    files = [str(path.relative_to(tests)) for path in tests.rglob("test_*.py")]
    shutil.rmtree(LOGS, ignore_errors=True)
    started_s = time.monotonic()
    ended = Runner(LOGS).run(jobs(files), computing_lanes=len(os.sched_getaffinity(0)))
    repeated: list[Ended] = []
    if wanted := again(ended):
        say(f"Again, with nothing beside them: the tests that failed, of {len(wanted)} shares")
        repeated = Runner(LOGS).run(wanted, computing_lanes=0, waiting_lanes=1)
    say(report(ended, repeated))
    cpu_s = sum(one.cpu_s for one in [*ended, *repeated])
    say(f"{time.monotonic() - started_s:.0f} s, CPU {cpu_s:.0f} s. The logs are in {LOGS.relative_to(ROOT)}")
    return int(any(one.status for one in repeated or ended))


if __name__ == "__main__":
    sys.exit(main())
