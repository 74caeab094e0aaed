"""Many clients at once, each asking its next question when it has its answer; in a process of its own."""

import itertools
import multiprocessing
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from random import Random

from benchmarks.queries.ask import Connection, Judge, Timing
from benchmarks.queries.cases import Case
from tests.harness.cluster import BenchError


@dataclass(frozen=True, slots=True)
class ConcurrentRun:
    """What they saw. `timings`: by query, in the order of the cases; `wall_s`: until the last answer."""

    clients: int
    wall_s: float
    timings: list[Timing]

    @property
    def answers(self) -> int:
        return sum(len(one.took_s) for one in self.timings)


def ask_from_elsewhere(url: str, cases: Sequence[Case], clients: int, seconds: float) -> ConcurrentRun:
    """`ask` in another process: what the clients cost does not slow who measures. Raises as `ask`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(ask, url, cases, clients, seconds).result()
        except BrokenProcessPool as error:
            raise BenchError("the process of the clients was killed: is there enough memory?") from error


def ask(url: str, cases: Sequence[Case], clients: int, seconds: float) -> ConcurrentRun:
    """Raises BenchError where a client gets no answer."""
    began_s = time.perf_counter()
    timings = {case.name: Timing(case.name) for case in cases}
    lock = threading.Lock()

    def client(number: int) -> None:
        judge = Judge()
        with Connection(url) as connection:
            for turn, case in enumerate(mix(cases, number)):
                if time.perf_counter() - began_s >= seconds:
                    return
                call = case.calls[turn % len(case.calls)]
                answer = connection.get(call.target)
                problem = judge.wrong(call, answer)
                with lock:
                    timing = timings[case.name]
                    timing.took_s.append(answer.took_s)
                    timing.answer_bytes = max(timing.answer_bytes, len(answer.body))
                    timing.wrong = timing.wrong or problem

    with ThreadPoolExecutor(clients, "client") as pool:
        for done in [pool.submit(client, number) for number in range(clients)]:
            done.result()
    return ConcurrentRun(clients, time.perf_counter() - began_s, list(timings.values()))


def mix(cases: Sequence[Case], seed: int) -> Iterator[Case]:
    """Without end: all queries in random order, and one of those with large answers; then again."""
    rng = Random(seed)
    small, full = [case for case in cases if not case.full], [case for case in cases if case.full]
    rng.shuffle(full)
    for number in itertools.count():
        deck = small + ([full[number % len(full)]] if full else [])
        rng.shuffle(deck)
        yield from deck
