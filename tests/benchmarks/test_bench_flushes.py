"""Small flushes with compaction: what lies in the bucket grows far slower than the number of flushes."""

from pathlib import Path

import pytest

from benchmarks.months.flushes import moments, rows
from benchmarks.months.simulation import Plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flushes")


def test_it_stays_flat(folder: Path) -> None:
    """Two hours and four hours of a flush every five minutes: an hour of single flushes, and a block for each hour."""
    plan = Plan(partitions=1, spans=20)
    first, last = moments(plan, [24, 48], folder)
    assert (first.spans, last.spans) == (pytest.approx(24 * 20, rel=0.5), pytest.approx(2 * first.spans, rel=0.2))
    hours = 4 - 2
    assert last.blocks - first.blocks <= hours
    # A merged block has three objects; what it replaces is deleted after an hour, a cut after its checkpoint.
    assert last.objects - first.objects <= 3 * hours + 12
    for moment in (first, last):
        assert all(times.answers_agree for times in moment.queries.values())
        assert len(list(rows(moment))) == 1 + len(moment.queries)
