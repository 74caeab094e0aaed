"""Files: the repository's, and files in memory."""

from pathlib import Path
from typing import Any

from tables.storage.object_store import RangeFile

ROOT = Path(__file__).resolve().parents[2]


def file_of(data: Any) -> RangeFile:
    """An Arrow buffer as a file."""
    return RangeFile(lambda ranges: [data.slice(*one) for one in ranges], data.size)
