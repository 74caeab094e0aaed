"""A short piece of `make upgrade`: five processes of a former revision become the present one, one after the other."""

from pathlib import Path

import pytest

from benchmarks import revisions
from benchmarks.upgrade.__main__ import FORMER
from tests.harness.cluster import BenchError
from tests.helpers.benchmark_run import benchmark_report

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SHORT = ["--small", "--no-back", "--rate", "300", "--settle-s", "3", "--pause-s", "1", "--block-age-s", "6"]


def test_every_span_once(tmp_path: Path) -> None:
    """Under load and questions of all kinds: none fails but with a time to come back after, and every span is there
    once.
    """
    try:
        revisions.resolved(FORMER)
    except BenchError as error:
        pytest.skip(f"NO ROLLING UPGRADE IS TESTED: {error}")
    report = benchmark_report("benchmarks.upgrade", [*SHORT, "--traces", "40"], tmp_path)
    assert "is there exactly once" in report
