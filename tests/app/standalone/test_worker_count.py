"""How many workers a machine can use."""

from pathlib import Path

import pytest

from app.settings import load
from app.standalone.worker_count import cpus, fitting, memory_bytes, worker_count

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cpus_", "memory", "workers"),
    [
        pytest.param(1, 8 * GIB, 1, id="one CPU"),
        pytest.param(2, 8 * GIB, 1, id="two: one is for Kafka and the system"),
        pytest.param(3, 8 * GIB, 2, id="three"),
        pytest.param(16, 64 * GIB, 15, id="a large machine"),
        pytest.param(16, 4 * GIB, 4, id="little memory"),
        pytest.param(0.5, GIB // 2, 1, id="half a CPU"),
        pytest.param(3.5, 8 * GIB, 2, id="a quota of three and a half"),
    ],
)
def test_what_fits(cpus_, memory, workers):
    assert fitting(cpus_, memory) == workers


@pytest.mark.parametrize(
    ("files", "less"),
    [
        pytest.param({}, False, id="no cgroup"),
        pytest.param({"cpu.max": "max 100000", "memory.max": "max"}, False, id="no limits"),
        pytest.param({"cpu.max": "50000 100000", "memory.max": "1000"}, True, id="limits"),
        pytest.param({"cpu.max": "nonsense", "memory.max": ""}, False, id="files that say nothing"),
    ],
)
def test_a_container(tmp_path: Path, files, less):
    """Its limits count, not the machine's."""
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    whole = cpus(tmp_path / "none"), memory_bytes(tmp_path / "none")
    assert (cpus(tmp_path), memory_bytes(tmp_path)) == ((0.5, 1000) if less else whole)


def test_the_setting_wins(tmp_path: Path):
    """Whatever the machine has."""
    assert worker_count(load({"STRETTO_WORKERS": "77"}, tmp_path)) == 77
    assert worker_count(load({"STRETTO_WORKERS": "auto"}, tmp_path)) == worker_count(load({}, tmp_path)) >= 1
