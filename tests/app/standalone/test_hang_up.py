"""SIGHUP at `stretto run`: the workers read their settings again, unless the terminal is gone."""

import os
import pty
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from app.errors import SettingsError
from app.settings import load
from app.standalone import hang_up
from app.standalone.hang_up import HangUp, has_terminal


@pytest.mark.parametrize(
    ("had", "has", "ends"), [(True, True, False), (True, False, True), (False, False, False), (False, True, False)]
)
def test_the_end_of_a_terminal(monkeypatch, tmp_path, had, has, ends):
    monkeypatch.setattr(hang_up, "has_terminal", lambda: has)
    assert HangUp(load({}, tmp_path), dict, print, had_terminal=had).is_end() is ends


SCRIPT = """
import fcntl, signal, sys, termios, time
from app.standalone.hang_up import HangUp
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
hung = []
signal.signal(signal.SIGHUP, lambda *_: hung.append(1))
one = HangUp(None, None, None)
print(one.had_terminal, one.is_end(), flush=True)
while not hung:
    time.sleep(0.01)
print(one.is_end(), flush=True)
"""


def test_it_sees_a_terminal():
    """A process in a session with a terminal has one, until the other end is closed."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(slave)], stdout=subprocess.PIPE, start_new_session=True, pass_fds=(slave,)
    ) as child:
        os.close(slave)
        assert child.stdout.readline() == b"True False\n"
        os.close(master)  # the terminal is gone: the kernel sends SIGHUP
        assert child.stdout.readline() == b"True\n"
        assert child.wait(30) == 0


def test_without_a_terminal():
    code = "from app.standalone.hang_up import has_terminal; print(has_terminal())"
    out = subprocess.run([sys.executable, "-c", code], start_new_session=True, capture_output=True, check=True)
    assert out.stdout == b"False\n"
    assert has_terminal() in (True, False)


def test_it_is_passed_on(tmp_path):
    """Also where the file is wrong: each worker says so, and keeps what it has."""
    said, sent = [], []
    workers = [SimpleNamespace(send=sent.append)] * 2
    one = HangUp(load({}, tmp_path), lambda: load({}, tmp_path), said.append)
    one.reload(workers)
    assert said == ["Reading the settings again."]
    (tmp_path / "stretto.yaml").write_text("workers: 3\nquery: {threads: 9}")
    one.reload(workers)
    assert said[-1] == "Needs a restart of `stretto run`: workers"
    (tmp_path / "stretto.yaml").write_text("query: {threads: 0}")
    one.reload(workers)
    assert said[-1].startswith("The settings are wrong; those before stay in use:\nstretto.yaml:1: query.threads")
    assert sent == [signal.SIGHUP] * 6
    with pytest.raises(SettingsError):
        one.read()
