"""`make test` runs every test once, and says what failed."""

import sys
from pathlib import Path

from tests.helpers.files import ROOT
from tools.parallel_tests import SHARES, Job, Runner, jobs, report, shares_of

FILES = sorted(str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_file_is_run_once() -> None:
    given = [word for job in jobs(FILES) for word in job.command if word.startswith("tests/")]
    assert sorted(given) == [f"tests/{file}" for file in FILES]


def test_every_share_has_files() -> None:
    """A file that has moved would silently go to another share."""
    found = shares_of(FILES)
    assert set(found) == set(SHARES)
    named = [path for share in SHARES for path in share.paths if path]
    assert [path for path in named if not (ROOT / "tests" / path).exists()] == []


def test_the_longest_path_decides() -> None:
    found = {share.name: its for share, its in shares_of(FILES).items()}
    assert "tables/storage/test_probe.py" in found["storage"]
    assert "cluster/test_chaos.py" in found["cluster-chaos"]
    assert "cluster/test_api.py" in found["cluster"]
    assert "test_parallel_tests.py" in found["rest"]


def python(name: str, code: str, *, waits: bool = False) -> Job:
    return Job(name, (sys.executable, "-c", code), waits)


def test_failures_are_shown_last(tmp_path: Path) -> None:
    failing = "print('= FAILURES =\\nwhy\\n= short =\\nSKIPPED [1] here: no disk\\nFAILED a.py::b - why'); exit(1)"
    wanted = [
        python("good", "print('head\\n== 2 passed in 1 s ==')"),
        python("bad", failing),
        python("worse", "import os; os.abort()", waits=True),
    ]
    ended = Runner(tmp_path / "logs").run(wanted, computing_lanes=1, waiting_lanes=1)
    assert sorted((one.job.name, one.status) for one in ended) == [("bad", 1), ("good", 0), ("worse", -6)]
    text = report(ended)
    assert text.startswith("──── ")
    assert "= FAILURES =\nwhy\n" in text
    assert "\nSKIPPED [1] here: no disk\n" in text
    assert "ok     good              2 passed in 1 s [" in text
    assert "head" not in text
    assert text.endswith("\nFAILED a.py::b - why")
    assert (tmp_path / "logs" / "good.log").read_text().startswith("head\n")


def test_what_computes_lets_others_go_first(tmp_path: Path) -> None:
    niceness = "import os; print(os.nice(0))"
    ended = Runner(tmp_path).run([python("computes", niceness), python("waits", niceness, waits=True)], 1, 1)
    told = {one.job.name: int(one.output) for one in ended}
    assert told["computes"] > told["waits"] or told["waits"] == 19


def test_a_lane_that_computes_helps(tmp_path: Path) -> None:
    """Both wait for each other: with one lane after the other neither would end."""
    meet = "import pathlib as p, time\np.Path({own!r}).touch()\nwhile not p.Path({other!r}).exists(): time.sleep(0.01)"
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    wanted = [python(f"one{n}", meet.format(own=paths[n], other=paths[1 - n]), waits=True) for n in range(2)]
    ended = Runner(tmp_path / "logs").run(wanted, computing_lanes=1, waiting_lanes=1)
    assert [one.status for one in ended] == [0, 0]
