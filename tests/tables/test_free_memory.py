"""Memory goes back to the system where a process has grown, and stays where it is used again at once."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import numpy as np
import pyarrow as pa
from tables.free_memory import FreeMemoryLimit, resident_bytes

limit = FreeMemoryLimit(int(sys.argv[1]) << 20)
before = resident_bytes()
held = [pa.array(np.arange(30_000)) for _ in range(800)]  # 190 MB
assert resident_bytes() - before > 150 << 20
del held
print(limit.keep(), resident_bytes() - before < 100 << 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize(("grown_mb", "released"), [(50, True), (1000, False)])
def test_memory_is_released_above_the_limit(grown_mb: int, released: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(grown_mb)], capture_output=True, text=True, timeout=120, check=True
    )
    went, small = done.stdout.split()
    assert (went == "True") == released
    assert small == "True" or not released
