"""What the comparison of one worker with several says."""

import itertools
from concurrent.futures import ThreadPoolExecutor

from benchmarks.workers import Taken, compared, shared


def taken(workers: int, spans_per_s: float, worker: float, cpu_s: float) -> Taken:
    return Taken(workers, spans_per_s, {"worker": worker, "kafka": 0.2, "loader": 0.3}, {"worker": cpu_s, "kafka": 1.0})


def test_medians_are_compared() -> None:
    """A run that was disturbed does not decide; what the machine allows follows from what the first leaves idle."""
    runs = [
        *(taken(1, rate, 1.1, 9.0) for rate in (100_000, 10_000, 100_000)),
        *(taken(2, rate, 1.4, 9.5) for rate in (120_000, 120_000, 5_000)),
    ]
    assert compared(runs, [1, 2], 2) == (
        "2 workers take 1.20 times what 1 takes, for +5% CPU a span\n"
        "with 1 1.60 of 2 cores are busy, loader and Kafka included: 1.25 times as much is what the machine allows"
    )


def test_connections_share_the_requests() -> None:
    """Each request is sent once, by whoever has room."""
    requests, numbers = [b"%d" % n for n in range(1000)], itertools.count()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: list(shared(requests, numbers)), range(8)))
    assert sorted(itertools.chain(*taken)) == sorted(requests)


def test_a_line_says_who_took_what() -> None:
    assert str(Taken(2, 90_000.4, {"worker": 1.5, "kafka": 0.25}, {"worker": 9.04, "kafka": 1}, 0.1, [0.4, 0.6])) == (
        "2 workers:    90,000 spans/s (40% and 60%); cores: worker 1.50, kafka 0.25, idle 0.10; "
        "CPU s per 1M spans: worker 9.0, kafka 1.0"
    )
