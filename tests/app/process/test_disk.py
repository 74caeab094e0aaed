"""The metrics of the disk say what the system says, also before the folder is there."""

import shutil
from pathlib import Path

import pytest

from app.process.disk import FREE, SIZE, show_disk


def test_the_disk_of_a_folder(tmp_path: Path) -> None:
    show_disk(tmp_path / "data" / "workers" / "2")
    (free,), (size,) = (next(iter(gauge.collect())).samples for gauge in (FREE, SIZE))
    disk = shutil.disk_usage(tmp_path)
    assert size.value == disk.total
    assert free.value == pytest.approx(disk.free, rel=0.2)
