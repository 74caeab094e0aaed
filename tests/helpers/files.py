"""Files in memory."""

from typing import Any

from tables.storage.object_store import RangeFile


def file_of(data: Any) -> RangeFile:
    """An Arrow buffer as a file."""
    return RangeFile(lambda ranges: [data.slice(*one) for one in ranges], data.size)
