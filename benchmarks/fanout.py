"""Simulates how a frontend hands out jobs to many queriers: stragglers, hedging, jobs that prefer a querier.

python -m benchmarks.fanout [--queriers N] [--load SHARE] [--queries N] [--seed N] …

A discrete-event simulation; nothing is started. What it models is what app/querying/jobs/job_queue.py does:
- a query has many jobs, one for some row groups of a block; it is answered when all are
- a job prefers the querier that had it before (rendezvous hashing): there its columns are in the cache, and it takes a
  fraction of the time. Where that one is busy for `--steal-ms`, any other may take the job
- a job without an answer after `--hedge-ms` is given to a second querier, too; the first answer counts
- a querier may be slow for all its jobs (a noisy neighbour, a GC, a slow disk), and any job may be slow by itself
"""

import argparse
import heapq
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

import numpy as np

# The default of query_frontend.hedge_requests_at, and an earlier one.
_DEFAULT_HEDGE_MS: Final = 2000.0


@dataclass(frozen=True, slots=True)
class Options:
    """Times in milliseconds. load: share of all slots that is busy on average, without stragglers and hedging"""

    queriers: int = 200
    slots: int = 4
    jobs: int = 200
    blocks: int = 5_000
    load: float = 0.5
    queries: int = 300
    cold_ms: float = 60.0
    warm_share: float = 0.2
    spread: float = 0.4
    slow_queriers: float = 0.01
    slow_times: float = 20.0
    slow_jobs: float = 0.002
    steal_ms: float = 30.0
    hedge_ms: float | None = 500.0
    network_ms: float = 1.0
    affinity: bool = True
    cached_jobs: int = 400
    seed: int = 1


@dataclass(slots=True)
class _Job:
    query: int
    block: int
    preferred: int
    asked_ms: float
    done: bool = False
    running: list[int] = field(default_factory=list)  # attempts
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """latencies_ms: of the queries, sorted. extra: work that was given up, as a share of the useful work"""

    latencies_ms: Sequence[float]
    extra: float
    hedges: int
    warm: float  # share of jobs that found their columns in a cache
    busy: float  # share of all slots

    def at(self, share: float) -> float:
        return self.latencies_ms[min(len(self.latencies_ms) - 1, int(share * len(self.latencies_ms)))]


class Simulation:
    """One run. Events are (time, number, what, …): the number keeps equal times in their order."""

    def __init__(self, options: Options) -> None:
        self._o, self._rng, self._numbers = options, np.random.default_rng(options.seed), count()
        self._events: list[tuple[float, int, str, int]] = []
        self._now_ms = 0.0
        self._free = [options.slots] * options.queriers
        slow = self._rng.random(options.queriers) < options.slow_queriers
        self._slow = np.where(slow, options.slow_times, 1.0)
        self._caches: list[dict[int, None]] = [{} for _ in range(options.queriers)]
        self._jobs: list[_Job] = []
        self._waiting: dict[int, None] = {}  # jobs by number, in the order in which they came
        self._preferring: list[dict[int, None]] = [{} for _ in range(options.queriers)]
        self._attempts: list[tuple[int, int, float, bool]] = []  # job, querier, began, ended
        self._left: dict[int, int] = {}
        self._asked: dict[int, float] = {}
        self._latencies: list[float] = []
        self._useful_ms = self._wasted_ms = 0.0
        self._hedges = self._warm = 0

    def run(self) -> Result:
        """Until all queries are answered."""
        options = self._o
        mean_ms = options.cold_ms * (options.warm_share if options.affinity else 1.0)
        every_ms = options.jobs * mean_ms / (options.load * options.queriers * options.slots)
        at_ms = 0.0
        for query in range(options.queries):
            at_ms += float(self._rng.exponential(every_ms))
            self._push(at_ms, "query", query)
        while self._events:
            self._now_ms, _, what, one = heapq.heappop(self._events)
            if what == "query":
                self._ask(one)
            elif what == "done":
                self._finish(one)
            elif what == "hedge" and not self._jobs[one].done:
                self._hedge(one)
            elif what == "steal" and one in self._waiting:
                self._place(one, anywhere=True)
        busy = (self._useful_ms + self._wasted_ms) / (self._now_ms * options.queriers * options.slots)
        total = len(self._jobs)
        extra = self._wasted_ms / self._useful_ms if self._useful_ms else 0.0
        return Result(sorted(self._latencies), extra, self._hedges, self._warm / total, busy)

    def _push(self, at_ms: float, what: str, one: int) -> None:
        heapq.heappush(self._events, (at_ms, next(self._numbers), what, one))

    def _ask(self, query: int) -> None:
        options = self._o
        self._left[query], self._asked[query] = options.jobs, self._now_ms
        # Recent blocks are asked for more often.
        blocks = np.minimum(self._rng.exponential(options.blocks / 10, options.jobs), options.blocks - 1).astype(int)
        for block in blocks.tolist():
            number = len(self._jobs)
            preferred = (block * 2_654_435_761 >> 7) % options.queriers if options.affinity else -1
            self._jobs.append(_Job(query, block, preferred, self._now_ms))
            self._waiting[number] = None
            if preferred >= 0:
                self._preferring[preferred][number] = None
            if not self._place(number, anywhere=not options.affinity) and options.affinity:
                self._push(self._now_ms + options.steal_ms, "steal", number)

    def _place(self, number: int, *, anywhere: bool) -> bool:
        job = self._jobs[number]
        querier = job.preferred if job.preferred >= 0 and self._free[job.preferred] else -1
        if querier < 0 and anywhere:
            querier = self._idle(without=-1)
        if querier < 0:
            return False
        self._take(number)
        self._start(number, querier)
        return True

    def _idle(self, without: int) -> int:
        """A querier with a free slot, by chance; -1: there is none."""
        for querier in self._rng.integers(0, self._o.queriers, 8).tolist():
            if self._free[querier] and querier != without:
                return int(querier)
        free = [one for one, slots in enumerate(self._free) if slots and one != without]
        return int(self._rng.choice(free)) if free else -1

    def _start(self, number: int, querier: int) -> None:
        options, job = self._o, self._jobs[number]
        self._free[querier] -= 1
        cache = self._caches[querier]
        warm = job.block in cache
        self._warm += warm
        cache.pop(job.block, None)
        cache[job.block] = None
        if len(cache) > options.cached_jobs:
            del cache[next(iter(cache))]
        work_ms = options.cold_ms * (options.warm_share if warm else 1.0)
        work_ms *= float(self._rng.lognormal(0.0, options.spread)) * float(self._slow[querier])
        if self._rng.random() < options.slow_jobs:
            work_ms *= options.slow_times
        attempt = len(self._attempts)
        self._attempts.append((number, querier, self._now_ms, False))
        job.running.append(attempt)
        self._push(self._now_ms + work_ms + options.network_ms, "done", attempt)
        if options.hedge_ms is not None and not job.hedged:
            self._push(self._now_ms + options.hedge_ms, "hedge", number)

    def _hedge(self, number: int) -> None:
        job = self._jobs[number]
        if job.hedged or not job.running:
            return
        querier = self._idle(without=self._attempts[job.running[0]][1])
        if querier >= 0:
            job.hedged = True
            self._hedges += 1
            self._start(number, querier)

    def _finish(self, attempt: int) -> None:
        number, _, _, ended = self._attempts[attempt]
        job = self._jobs[number]
        if ended or job.done:
            return
        job.done = True
        for one in job.running:
            number_, querier, began_ms, over = self._attempts[one]
            if over:
                continue
            taken_ms = self._now_ms - began_ms
            if one == attempt:
                self._useful_ms += taken_ms
            else:
                self._wasted_ms += taken_ms
            self._attempts[one] = (number_, querier, began_ms, True)
            self._release(querier)
        self._left[job.query] -= 1
        # The first third fills the caches, and is slow.
        if not self._left[job.query] and 3 * job.query >= self._o.queries:
            self._latencies.append(self._now_ms - self._asked[job.query])

    def _release(self, querier: int) -> None:
        """Takes the oldest job that prefers this querier, else the oldest of all if it has waited long enough."""
        self._free[querier] += 1
        own = next(iter(self._preferring[querier]), -1)
        oldest = next(iter(self._waiting), -1)
        if own < 0 and oldest >= 0:
            job = self._jobs[oldest]
            own = oldest if job.preferred < 0 or self._now_ms - job.asked_ms >= self._o.steal_ms else -1
        if own >= 0:
            self._take(own)
            self._start(own, querier)

    def _take(self, number: int) -> None:
        del self._waiting[number]
        if (preferred := self._jobs[number].preferred) >= 0:
            del self._preferring[preferred][number]


def rows(options: Options) -> list[tuple[str, Result]]:
    """The same load in several ways."""
    cases = {
        "no hedging": replace(options, hedge_ms=None),
        "hedged after 2 s (the default)": replace(options, hedge_ms=_DEFAULT_HEDGE_MS),
        f"hedged after {options.hedge_ms:g} ms": options,
        "the same, any querier": replace(options, affinity=False),
        "the same, half the slots": replace(options, slots=max(1, options.slots // 2), load=2 * options.load),
        "nobody slow, no hedging": replace(options, slow_queriers=0, slow_jobs=0, hedge_ms=None),
    }
    return [(name, Simulation(one).run()) for name, one in cases.items()]


def text(options: Options) -> str:
    """The table for docs/scaling.md."""
    lines = [
        "| case | p50 ms | p90 ms | p99 ms | work given up | hedges | jobs on a warm cache | busy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in rows(options):
        lines.append(
            f"| {name} | {one.at(0.5):.0f} | {one.at(0.9):.0f} | {one.at(0.99):.0f} | {one.extra:.1%} | {one.hedges} "
            f"| {one.warm:.0%} | {one.busy:.0%} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__.partition("\n")[0])
    defaults = Options()
    for name in ("queriers", "slots", "jobs", "blocks", "queries", "cached_jobs", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    for name in ("load", "cold_ms", "slow_queriers", "slow_times", "slow_jobs", "steal_ms", "hedge_ms"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(defaults, name))
    given = parser.parse_args(argv)
    sys.stdout.write(text(Options(**vars(given))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
