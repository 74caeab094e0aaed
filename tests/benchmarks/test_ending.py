"""How child processes end, and the S3 that is one of them."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore
from tests.harness.cluster import BenchError
from tests.harness.ending import end, end_all
from tests.harness.moto_process import moto_options, moto_process

# What a shell starts in the background ignores SIGINT, and so do its children, if they say nothing else.
WAITS = (
    "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); {}; print('there', flush=True); time.sleep(600)"
)
STUBBORN = WAITS.format("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
POLITE = WAITS.format("signal.signal(signal.SIGTERM, lambda *_: exit(3))")


@contextmanager
def started(*codes: str) -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes whose signal handlers are there."""
    made = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for code in codes]
    try:
        for process in made:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
        yield made
    finally:
        for process in made:
            process.kill()
            process.communicate()


def test_a_process_ends_as_it_is_told_to() -> None:
    with started(POLITE) as (process,):
        end(process, 60)
        assert process.returncode == 3
        end(process, 60)  # has ended already


def test_who_does_not_end_is_killed() -> None:
    with started(STUBBORN, POLITE) as (stubborn, polite):
        end_all([stubborn, polite], 0.1)
        assert stubborn.returncode == -signal.SIGKILL
        assert polite.returncode in (3, -signal.SIGKILL)


def test_how() -> None:
    with started(STUBBORN) as (process,):
        end(process, 60, signal.SIGINT)
        assert process.returncode == -signal.SIGINT


def test_moto(tmp_path: Path) -> None:
    """A bucket, for as long as it is wanted."""
    with moto_process("bucket", tmp_path / "log") as address:
        store = ObjectStore(StorageConfig("s3", "bucket", options=moto_options(address), read_timeout_s=60.0))
        store.put("a/b", b"c")
        assert (store.get("a/b"), list(store.paths("a/"))) == (b"c", ["a/b"])
    assert address.rpartition(":")[2] in (tmp_path / "log").read_text()


def test_moto_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.harness.moto_process.own_port", lambda: 1 << 20)
    monkeypatch.setattr("tests.harness.moto_process._READY_S", 1.0)
    with pytest.raises(BenchError, match="does not answer"), moto_process("bucket", tmp_path / "log"):
        pass
