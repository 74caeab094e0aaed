"""What the comparison of one worker with several says."""

from benchmarks.workers import Taken, compared


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
