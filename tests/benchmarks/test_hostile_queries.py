"""Fuzzed queries over wide data with little memory: all are answered or refused, and memory goes back."""

import json
import subprocess
import sys
from random import Random

import pytest

from benchmarks.hostile.asked import asked
from benchmarks.hostile.grammar import Grammar
from benchmarks.hostile.wide import Wide
from query.errors import TraceQLError
from query.language.compile import compile_query
from query.metrics.metrics import compile_metrics


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all memory only on Linux")
def test_a_process_with_little_memory_answers_or_refuses() -> None:
    """What took 3 GB takes less than a tenth; what does not fit is refused; afterwards memory is free again."""
    sizes = ["--megabytes", "500", "--budget-megabytes", "96", "--keys", "2000", "--spans", "9000"]
    command = [sys.executable, "-m", "benchmarks.hostile.alone", "--queries", "60", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    reply = json.loads(done.stdout)
    assert reply["ended"]["compare: answered"] >= 1
    assert reply["ended"]["tags: answered"] >= 1
    assert reply["ended"]["trace by id: too large"] == 1
    assert reply["ended"]["page of a trace: answered"] == 1
    assert sum(reply["ended"].values()) == 64
    assert reply["peak_mb"] < 350
    # The cache of columns (64 MB) and what Python keeps.
    assert reply["after_mb"] < 200


def test_most_fuzzed_queries_are_valid() -> None:
    """Or only the parser would be tested."""
    grammar, good = Grammar(Wide(keys=50), Random(1)), 0
    for _ in range(100):
        for make, compile_text in ((grammar.search, compile_query), (grammar.metrics, compile_metrics)):
            try:
                compile_text(make())
                good += 1
            except TraceQLError:
                pass
    assert good > 100


def test_requests_follow_from_the_seed() -> None:
    """So that what broke can be asked again."""
    wide = Wide(keys=50)
    assert list(asked(wide, 3, 50)) == list(asked(wide, 3, 50)) != list(asked(wide, 4, 50))
    assert {one.kind for one in asked(wide, 3, 200)} == {
        "search",
        "metrics range",
        "metrics instant",
        "tags",
        "tag values",
        "trace by id",
    }
