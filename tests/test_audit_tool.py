"""`make audit` tells a vulnerability from a database that could not be asked."""

import json
import sys

import pytest

from tools.audit import AUDITS, FOUND, NOT_ASKED, Audit, main, vulnerabilities

CLEAN = {"dependencies": [{"name": "pyarrow", "version": "26.0.1", "vulns": []}], "fixes": []}
BAD = {"id": "PYSEC-1", "fix_versions": ["2"], "aliases": [], "description": ""}
HIT = {"dependencies": [{"name": "one", "version": "1", "vulns": [BAD]}], "fixes": []}
SKIPPED = {"dependencies": [{"name": "one", "skip_reason": "could not be asked for"}], "fixes": []}
NPM_CLEAN = {"auditReportVersion": 2, "vulnerabilities": {}, "metadata": {}}
NPM_HIT = {"auditReportVersion": 2, "vulnerabilities": {"two": {"range": "<3", "severity": "high"}}}
NPM_AWAY = {"message": "request to … failed", "error": {"summary": "", "detail": ""}}


def printing(said: object, status: int = 0) -> Audit:
    text = said if isinstance(said, str) else json.dumps(said)
    return Audit("packages", (sys.executable, "-c", f"import sys; print({text!r}); sys.exit({status})"))


@pytest.mark.parametrize(
    ("said", "status", "line"),
    [
        (CLEAN, 0, "packages: no vulnerability is known"),
        (HIT, FOUND, "packages: one 1: PYSEC-1, mended in 2"),
        (SKIPPED, NOT_ASKED, "packages: NOT CHECKED"),
        ("ERROR: connection refused", NOT_ASKED, "could not be asked: ERROR: connection refused"),
        (NPM_CLEAN, 0, "packages: no vulnerability is known"),
        (NPM_HIT, FOUND, "packages: two <3: high"),
        (NPM_AWAY, NOT_ASKED, "packages: NOT CHECKED"),
        ("", NOT_ASKED, "packages: NOT CHECKED"),
    ],
)
def test_what_it_says(said: object, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([printing(said, 1 if status else 0)]) == status
    assert line in capsys.readouterr().out


def test_a_vulnerability_counts_more_than_a_database_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([printing(HIT, 1), printing("", 1), printing(CLEAN)]) == FOUND
    assert main([printing(CLEAN), printing("", 1)]) == NOT_ASKED
    assert capsys.readouterr().out.count("NOT CHECKED") == 2


def test_no_answer(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Audit("packages", (sys.executable, "-c", "import time; time.sleep(60)"))
    assert main([silent], timeout_s=0.2) == NOT_ASKED
    assert "no answer in 0.2 s" in capsys.readouterr().out


def test_annotations(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    main([printing(HIT, 1), printing("a\nb", 1)])
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("::error::")
    assert out[1].startswith("::warning::")
    assert out[1].endswith("a%0Ab")


def test_all_that_is_shipped_is_audited() -> None:
    words = [word for one in AUDITS for word in one.command]
    assert {"requirements.txt", "app/ui", "--require-hashes"} <= set(words)
    assert vulnerabilities("[]") is None
