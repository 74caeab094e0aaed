"""The probe at the start of a process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.process.storage_probe import probe_storage
from tables.errors import StorageError
from tables.storage.config import StorageConfig
from tables.storage.probe import StorageProbe
from tests.helpers.files import ROOT
from tests.helpers.loops import in_loop

_UNUSABLE = """
import asyncio, logging, time
from concurrent.futures import ThreadPoolExecutor
from app.process.storage_probe import probe_storage
from tables.errors import UnusableStorage

class Probe:
    def run(self):
        raise UnusableStorage("the storage does not allow to create objects")

logging.basicConfig(format="%(message)s")
with ThreadPoolExecutor(2) as pool:
    pool.submit(time.sleep, 60)
    asyncio.run(probe_storage(Probe(), pool))
"""


@in_loop
async def test_a_storage_that_is_away_or_there(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert await probe_storage(StorageProbe(StorageConfig("local", str(tmp_path))), pool)
        away = StorageProbe(StorageConfig("local", str(tmp_path)))
        away.run = _raise  # type: ignore[method-assign]
        assert not await probe_storage(away, pool)


def _raise() -> None:
    raise StorageError("no answer in time")


def test_a_storage_that_cannot_be_used_ends_the_process() -> None:
    """With a status that says so, in one line, and without waiting for threads."""
    ended = subprocess.run(
        [sys.executable, "-c", _UNUSABLE], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.strip() == "the storage does not allow to create objects"
