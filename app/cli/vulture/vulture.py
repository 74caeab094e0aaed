"""The loops of vulture: one writes, the others check what was written, soon after and as long as it is kept."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from app.cli.vulture import metrics
from app.cli.vulture.checks import Check, CheckFailure, metrics_checks, read_checks, search_checks
from app.cli.vulture.known_trace import KnownTrace, known_trace
from app.cli.vulture.logfmt import line
from app.cli.vulture.servers import QueryApi, RequestFailed, TraceSender
from app.cli.vulture.written import WrittenTraces

log = logging.getLogger(__name__)

# Traces that wait for their late writes, or for their first checks: more only where the servers are slower than the
# writes, and then some are left out.
_WAITING_MAX: Final = 1000
_AT_ONCE_MAX: Final = 8  # first checks at the same time
# Around the retention, where a trace may be deleted while it is asked for.
_RETENTION_MARGIN: Final = 0.05

ChecksOf = Callable[[KnownTrace, Random], Sequence[Check]]
KINDS: Final[dict[str, ChecksOf]] = {"read": read_checks, "search": search_checks, "metrics": metrics_checks}


@dataclass(frozen=True, slots=True, kw_only=True)
class VulturePlan:
    """What is written and checked when; times in seconds. intervals: of each of KINDS; 0: not checked"""

    seed: str
    write_interval_s: int
    late_write_s: float
    check_after_s: float
    recent_s: int
    retention_s: int
    intervals: dict[str, float]


class Vulture:
    """Writes and checks until it is cancelled. `failures` counts what was wrong, `checks` what was asked."""

    def __init__(
        self,
        plan: VulturePlan,
        receiver: TraceSender | None,
        api: QueryApi,
        written: WrittenTraces,
        *,
        save: Callable[[WrittenTraces], object] = lambda _: None,
        rng: Random | None = None,
    ) -> None:
        """receiver: None: it only checks. save: keeps `written` for the next process. rng: chooses what is asked"""
        self._plan, self._receiver, self._api, self._written, self._save = plan, receiver, api, written, save
        self._rng = rng or Random()  # noqa: S311 (no secrets)
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE_MAX)
        self.checks = self.failures = self.write_failures = 0

    async def run(self) -> None:
        """Writes traces and checks them until it is cancelled."""
        loops: list[Awaitable[None]] = [
            self._every(interval_s, self._check_chosen, kind)
            for kind, interval_s in self._plan.intervals.items()
            if interval_s > 0
        ]
        if self._receiver is not None:
            loops.append(self._write())
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop)  # type: ignore[arg-type]  # they are coroutines

    async def finish(self) -> None:
        """Waits for the late writes and first checks of what was begun."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def write_one(self) -> None:
        """Writes a trace and checks all of it; for a single test."""
        await self._one_trace(self._time_of(time.time()))

    # ---- writing

    def _time_of(self, now_s: float) -> int:
        return int(now_s // self._plan.write_interval_s) * self._plan.write_interval_s

    async def _write(self) -> None:
        """A trace at every multiple of the interval."""
        last_s = self._time_of(time.time())
        while True:
            await asyncio.sleep(max(0.0, last_s + self._plan.write_interval_s - time.time()))
            now_s = self._time_of(time.time())
            if now_s <= last_s:  # the clock was set back
                continue
            last_s = now_s
            if len(self._tasks) >= _WAITING_MAX:
                metrics.SKIPPED.inc()
                continue
            task = asyncio.create_task(self._one_trace(now_s))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (err := task.exception()) is not None:
            metrics.ERRORS.inc()
            log.error(line("a trace was not checked"), exc_info=err)

    async def _one_trace(self, time_s: int) -> None:
        trace = known_trace(self._plan.seed, time_s)
        for write in range(trace.writes):
            if write:
                await asyncio.sleep(self._plan.late_write_s)
            if not await self._send(trace, write):
                return
        metrics.LAST_WRITE.set(time.time())
        self._written.add(time_s)
        self._written.forget(time.time())
        self._keep()
        await asyncio.sleep(self._plan.check_after_s)
        async with self._slots:
            for checks_of in KINDS.values():
                await self._check(trace, checks_of, "fresh")

    async def _send(self, trace: KnownTrace, write: int) -> bool:
        assert self._receiver is not None, "who only reads writes nothing"
        start_s = time.perf_counter()
        try:
            await self._receiver.send(trace.request(write).SerializeToString())
        except RequestFailed as err:
            self.write_failures += 1
            metrics.ERRORS.inc()
            metrics.WRITES.labels("failed").inc()
            fields = {"trace_id": trace.hex_id, "time": trace.time_s, "write": write, "err": err}
            log.error(line("spans were not acknowledged; the trace is not checked", **fields))
            return False
        metrics.WRITES.labels("acknowledged").inc()
        metrics.WRITE_SECONDS.observe(time.perf_counter() - start_s)
        return True

    def _keep(self) -> None:
        try:
            self._save(self._written)
        except OSError as err:
            metrics.ERRORS.inc()
            log.error(line("the state file cannot be written", err=err))

    # ---- checking

    async def _every(self, interval_s: float, do: Callable[[str], Awaitable[None]], kind: str) -> None:
        """At once where it took longer than the interval."""
        while True:
            due_s = time.monotonic() + interval_s
            await do(kind)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _check_chosen(self, kind: str) -> None:
        """One recent trace and one old trace, by chance; of each age only if there is one."""
        now_s = time.time()
        recent_s = now_s - self._plan.recent_s
        oldest_s = now_s - self._plan.retention_s * (1 - _RETENTION_MARGIN)
        newest_s = now_s - self._plan.check_after_s
        for age, from_s, to_s in (("recent", max(recent_s, oldest_s), newest_s), ("old", oldest_s, recent_s)):
            time_s = self._written.choose(self._rng, from_s, to_s)
            if time_s is not None:
                await self._check(known_trace(self._plan.seed, time_s), KINDS[kind], age)

    async def _check(self, trace: KnownTrace, checks_of: ChecksOf, age: str) -> None:
        for check in checks_of(trace, self._rng):
            problem = await self._problem_of(check)
            self.checks += 1
            metrics.TRACES_CHECKED.inc()
            metrics.CHECKS.labels(check.kind, age).inc()
            if problem is not None:
                self._tell(trace, check, age, problem)

    async def _problem_of(self, check: Check) -> CheckFailure | None:
        start_s = time.perf_counter()
        try:
            answer: Any = await self._api.get(check.path, check.params)
        except RequestFailed as err:
            return CheckFailure("requestfailed", "an answer", str(err))
        finally:
            metrics.CHECK_SECONDS.labels(check.kind).observe(time.perf_counter() - start_s)
        if answer.get("status") == "PARTIAL":
            return CheckFailure("partial", "a complete answer", str(answer.get("message", "")))
        try:
            return check.judge(answer)
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            return CheckFailure("requestfailed", "an answer of Tempo's form", f"{type(err).__name__}: {err}")

    def _tell(self, trace: KnownTrace, check: Check, age: str, problem: CheckFailure) -> None:
        self.failures += 1
        metrics.TRACE_ERRORS.labels(problem.error).inc()
        fields = {
            "error": problem.error,
            "check": check.kind,
            "age": age,
            "trace_id": trace.hex_id,
            "time": trace.time_s,
            "path": check.path,
            "query": check.query,
            "expected": problem.expected,
            "found": problem.found,
        }
        log.error(line("check failed", **fields))
