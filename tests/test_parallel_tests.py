"""`make test` runs every test once, and says what failed."""

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.files import ROOT
from tools.parallel_tests import AGAIN_MAX, SHARES, Job, Runner, again, jobs, report, shares_of

FILES = sorted(str(path.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_file_is_run_once() -> None:
    given = [word for job in jobs(FILES) for word in job.command if word.startswith("tests/")]
    assert sorted(given) == [f"tests/{file}" for file in FILES]


def test_only_who_needs_the_slow_plugin_imports_it() -> None:
    """Whose import takes as long as that of pytest."""
    with_it = [job for job in jobs(FILES) if "no:schemathesis" not in job.command]
    assert [job.name for job in with_it] == ["types", "app"]
    imports = re.compile("^import schemathesis$", re.MULTILINE)
    needing = [file for file in FILES if imports.search((ROOT / "tests" / file).read_text())]
    assert needing == ["app/api/test_openapi.py"]


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


def job_of(folder: Path, code: str) -> Job:
    """Made as `jobs` makes them, of one file in a folder."""
    file = folder / "test_some.py"
    file.write_text(code)
    real = next(job for job in jobs(["test_tidy.py"]) if job.name == "rest")
    kept = [word for word in real.command if not word.startswith(("tests/", "cache_dir="))]
    at = kept.index("-o") + 1
    command = (*kept[:at], f"cache_dir={folder / 'cache'}", *kept[at:], "-c", "/dev/null", "--rootdir", str(folder))
    return Job("some", (*command, str(file)), again=real.again)


ONCE = """
import pathlib
def test_good(): pass
def test_once():
    mark = pathlib.Path(__file__).with_name("mark")
    known = mark.exists()
    mark.touch()
    assert known
"""


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        ("", 0, ["passed when it ran alone: FAILED test_some.py::test_once"]),
        (
            "def test_never(): assert not 'ever'",
            1,
            ["passed when it ran alone: FAILED test_some.py::test_once", "FAILED test_some.py::test_never"],
        ),
    ],
)
def test_what_failed_runs_again(tmp_path: Path, more: str, status: int, told: list[str]) -> None:
    ended = Runner(tmp_path / "logs").run([job_of(tmp_path, ONCE + more)], computing_lanes=1)
    assert [one.status for one in ended] == [1]
    repeated = Runner(tmp_path / "logs").run(again(ended), computing_lanes=0, waiting_lanes=1)
    assert [one.status for one in repeated] == [status]
    assert "test_good" not in repeated[0].output
    assert " 1 deselected in " in repeated[0].line  # what was good the first time
    last = report(ended, repeated).splitlines()[-len(told) :]
    assert [re.sub(r"\S+/| - .*", "", line) for line in last] == told


@pytest.mark.parametrize(
    ("code", "few"),
    [
        ("def test_bad(): assert 0", True),
        ("import pytest\n@pytest.mark.parametrize('n', range({}))\ndef test_bad(n): assert 0", False),
        ("import nothing_of_this_name", False),
    ],
)
def test_much_is_not_tried_again(tmp_path: Path, code: str, *, few: bool) -> None:
    ended = Runner(tmp_path / "logs").run([job_of(tmp_path, code.format(AGAIN_MAX + 1))], computing_lanes=1)
    assert bool(again(ended)) is few


def test_nothing_is_tried_again_where_another_program_failed(tmp_path: Path) -> None:
    wanted = [job_of(tmp_path, "def test_bad(): assert 0"), python("types", "exit(1)")]
    assert again(Runner(tmp_path / "logs").run(wanted, computing_lanes=1)) == []
