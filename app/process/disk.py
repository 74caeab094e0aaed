"""How much room the disk of the data folder has, as metrics: read when they are asked for."""

import os
from pathlib import Path
from typing import Final

from prometheus_client import Gauge

FREE: Final = Gauge(
    "stretto_data_dir_free_bytes", "Bytes that are free for this process on the disk of data_dir; 0: not known."
)
SIZE: Final = Gauge("stretto_data_dir_size_bytes", "Bytes of the disk of data_dir; 0: not known.")


def show_disk(folder: Path) -> None:
    """Sets the metrics up for a folder, which need not exist yet: then its nearest parent counts."""
    FREE.set_function(lambda: _bytes(folder, free=True))
    SIZE.set_function(lambda: _bytes(folder, free=False))


def _bytes(folder: Path, *, free: bool) -> int:
    for place in (folder, *folder.parents):
        try:
            disk = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            break
        # What is reserved for root is not free for others, so that df and this say the same.
        return disk.f_frsize * (disk.f_bavail if free else disk.f_blocks)
    return 0
