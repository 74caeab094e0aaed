"""The rolling upgrade's parts: former revisions, the order, what is asked meanwhile and what counts as wrong."""

import json
import re
import subprocess
import sys
import urllib.error
from email.message import Message
from io import BytesIO

import pytest

from benchmarks import revisions, workload
from benchmarks.soak import count, questions
from benchmarks.soak.asker import Asker
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, Ledger
from benchmarks.soak.template import Template
from benchmarks.upgrade import __main__ as upgrade
from benchmarks.upgrade.fleet import LARGE, SMALL, Fleet
from tests.harness.cluster import BenchError
from tests.helpers.files import ROOT
from tests.helpers.storage.canned_server import CannedServer

START_NS = 1_900_000_000_000_000_000


def git(folder, *arguments):
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(["git", *arguments], cwd=folder, env=who, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path):
    """A repository with a former revision: in each package a file, and a lock."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for package in revisions.PACKAGES:
        (folder / package).mkdir()
        (folder / package / "version.py").write_text("former")
    (folder / revisions.LOCK).write_text("one==1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "former")
    (folder / "app" / "version.py").write_text("present")
    return folder


def test_a_former_revision(project, tmp_path):
    code, words = revisions.former("HEAD", tmp_path / "former", project)
    assert (code.folder / "app" / "version.py").read_text() == "former"
    assert code.name == git(project, "rev-parse", "HEAD")[:8]
    assert code.variables == {"PYTHONPATH": str(tmp_path / "former")}
    assert words == "its lock is the present one"


def test_another_lock(project, tmp_path, monkeypatch):
    """A virtual environment of it; the packages of now where that cannot be made, and the report says so."""
    (project / revisions.LOCK).write_text("one==2\n")
    ran = []

    def run(command, **_):
        ran.append(command)
        return subprocess.CompletedProcess(command, len(ran) == 4, "", "some lines\nERROR: no such package")

    archive = revisions._git(["archive", "--format=tar", "HEAD", *revisions.PACKAGES, revisions.LOCK], project)
    monkeypatch.setattr(revisions, "_git", lambda arguments, _: archive if arguments[0] == "archive" else b"c0ffee\n")
    monkeypatch.setattr("benchmarks.revisions.subprocess.run", run)
    code, words = revisions.former("HEAD", tmp_path / "first", project)
    assert code.python == str(tmp_path / "first" / "venv" / "bin" / "python")
    assert words == "its lock is another one: a virtual environment of that"
    assert ran[1][-2:] == ["--requirement", str(tmp_path / "first" / revisions.LOCK)]
    code, words = revisions.former("HEAD", tmp_path / "second", project)
    assert code.python == sys.executable
    assert "cannot be installed (ERROR: no such package)" in words


def test_a_revision_that_is_not_there(project, tmp_path):
    with pytest.raises(BenchError, match="revision 4bd8a1ea is not in the git history"):
        revisions.former("4bd8a1ea", tmp_path / "former", project)
    shallow = tmp_path / "shallow"
    (project / "more").write_text("")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "more")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{project}", str(shallow))
    with pytest.raises(BenchError, match="shallow: git fetch --unshallow"):
        revisions.resolved(git(project, "rev-parse", "HEAD~1"), shallow)
    with pytest.raises(BenchError, match="is no git checkout"):
        revisions.resolved("HEAD", tmp_path)


def test_the_order_is_that_of_the_document(tmp_path):
    """docs/upgrades.md is what people follow."""
    text = (ROOT / "docs" / "upgrades.md").read_text()
    steps = text[text.index("## The order") : text.index("## The rule")]
    for targets in (LARGE, SMALL):
        names = [target for joined in targets for target in joined.split(",")]
        places = [re.search(rf"{name.replace('-', ' ')}s", steps, re.IGNORECASE) for name in names]
        assert len(names) == 6
        assert all(places)
        assert [one.start() for one in places] == sorted(one.start() for one in places)
    assert Fleet(tmp_path, LARGE, {}).order()[:3] == ["live-store-1", "live-store-2", "metrics-generator-1"]
    assert Fleet(tmp_path, SMALL, {}).order()[2:] == ["metrics-generator-1", "querier-1", "distributor-1"]


def test_options():
    given = upgrade.parse(["--from", "v1", "--no-back", "--setting", "live_store.segment_age_s=3"])
    assert (given.former, given.back) == ("v1", False)
    assert upgrade.settings(given)["STRETTO_LIVE_STORE__SEGMENT_AGE_S"] == "3"
    with pytest.raises(SystemExit):
        upgrade.parse(["--partitions", "0"])


# ---- what is asked


@pytest.fixture
def ledger(tmp_path):
    """Two passes: one that is acknowledged, one of which nobody knows."""
    path = tmp_path / "w.otlp"
    workload.write(workload.Options(spans=500, spans_per_request=100, spans_per_s=2000), path)
    made = Ledger(Template(path))
    for number, state in enumerate((ACKNOWLEDGED, UNKNOWN)):
        made.begin(START_NS + number * 10**9)
        for index in range(made.template.requests):
            made.note(number, index, state)
    return made


@pytest.mark.parametrize(
    ("more", "missing", "doubled", "unacknowledged"),
    [
        pytest.param(0, 0, 0, 0, id="what was acknowledged"),
        pytest.param(-3, 3, 0, 0, id="some lost"),
        pytest.param(7, 0, 0, 7, id="some of which nobody knows"),
    ],
)
def test_count_by_metrics(monkeypatch, ledger, more, missing, doubled, unacknowledged):
    spans = ledger.template.spans
    answer = {"series": [{"value": 5}, {"value": spans - 5 + more}]}
    monkeypatch.setattr(count, "ask", lambda _: json.dumps(answer))
    found = count.count_by_metrics("http://absent", ledger)
    assert (found.missing, found.doubled, found.unacknowledged) == (missing, doubled, unacknowledged)


def test_count_by_metrics_finds_doubles(monkeypatch, ledger):
    answer = {"series": [{"value": 2 * ledger.template.spans + 1}]}
    monkeypatch.setattr(count, "ask", lambda _: json.dumps(answer))
    found = count.count_by_metrics("http://absent", ledger)
    assert (found.missing, found.doubled) == (0, 1)
    assert not found.right


@pytest.mark.parametrize("once_within_s", [None, 1.0])
def test_a_trace_that_is_not_found_misses_all_its_spans(ledger, once_within_s):
    """It may be late: it is asked for again, as whatever lacks something."""
    sent = count.sent_spans(ledger, 0, 0)
    with CannedServer({}) as server:
        found = count.check_trace(server.url, 0, 0, sent, once_within_s)
    assert (found.missing, found.spans) == (len(sent), 0)


@pytest.mark.parametrize(("answer", "missing"), [({"traces": [{}]}, 0), ({"traces": []}, 1), ({}, 1)])
def test_an_answer_with_nothing_is_wrong(monkeypatch, ledger, answer, missing):
    monkeypatch.setattr(count, "asked_once", lambda *_: json.dumps(answer))
    found = questions.answered(questions.PATHS[0], ledger, 0, "http://absent", 1.0)
    assert (found.missing, found.right) == (missing, not missing)


def refusal(status, **headers):
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://absent", status, "", message, BytesIO(b"because"))


@pytest.mark.parametrize(
    ("error", "orderly", "fine"),
    [
        pytest.param(refusal(503, Retry_After="1"), True, True, id="come again"),
        pytest.param(refusal(503), True, False, id="no hint when"),
        pytest.param(refusal(500), False, False, id="a failure"),
        pytest.param(urllib.error.URLError(ConnectionRefusedError()), True, True, id="nobody listens any more"),
        pytest.param(ConnectionResetError(), True, False, id="broken, though it ended in order"),
        pytest.param(ConnectionResetError(), False, True, id="broken by kill -9"),
        pytest.param(TimeoutError(), True, False, id="no answer"),
        pytest.param(count.PartialAnswerError("206"), True, True, id="a trace by id says that it lacks something"),
    ],
)
def test_what_a_refusal_must_be(ledger, error, orderly, fine):
    def question(_):
        raise error

    asker = Asker(ledger, lambda: "http://absent", 1, orderly=orderly)
    asker._ask(question)
    assert (sum(asker.refused.values()), sum(asker.wrong_refusals.values())) == (int(fine), int(not fine))
