"""The bytes of blocks' files: from this process's own disk where they are there as they are, else from the storage."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from tables.errors import DamagedError, StorageError
from tables.storage.range_cache import Range, RangeCache, RoleOf
from tables.storage.shared_cache import Role

# So long after a read has failed the next ones do not wait for the storage where they can do without it.
_AWAY_S: Final = 30.0

LocalFile = Callable[[str], Any]


def not_here(_: str) -> None:
    """Of a process that has no local segments."""


class BlockFileReader:
    """Reads parts of blocks' files. Safe for threads.

    local_copy: the bytes of a file that are here and quicker to read than the storage, by path, or None
    remake: the bytes of a file, made again of the segments that were merged into it, or None. This reads and merges all
        of them, so it is for when the storage is away only: else a query would merge a block to see a footer
    """

    def __init__(self, ranges: RangeCache, local_copy: LocalFile, remake: LocalFile) -> None:
        self._ranges, self._local_copy, self._remake = ranges, local_copy, remake
        self._away_until_s = 0.0

    def read(self, role: Role | RoleOf, path: str, ranges: Sequence[Range]) -> Sequence[Any]:
        """The parts as buffers. Raises: DamagedError, StorageError"""
        data = self._local_copy(path)
        if data is None and time.monotonic() < self._away_until_s:
            data = self._remake(path)
        if data is None:
            try:
                return self._ranges.read(role, path, ranges)
            except StorageError as err:
                data = self._remake(path)
                if data is None:
                    raise
                if not isinstance(err, DamagedError):
                    self._away_until_s = time.monotonic() + _AWAY_S
        return [data.slice(*one) for one in ranges]
