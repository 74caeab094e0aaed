"""A worker that is told to stop ends, whatever its threads wait for."""

import subprocess
import sys
import time

SCRIPT = """
import asyncio, logging, time
from concurrent.futures import ThreadPoolExecutor
from app.process.shutdown import ExitDeadline

logging.basicConfig()
pool = ThreadPoolExecutor(1, "flush")
pool.submit(time.sleep, 60)
asyncio.run(ExitDeadline(within_s=0.2).on_stop())
"""


def test_threads_that_wait_are_left() -> None:
    """The process ends in time, well, and says for what it did not wait."""
    began_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "not waiting for threads that have not ended: flush_0" in done.stderr
    assert time.monotonic() - began_s < 10
