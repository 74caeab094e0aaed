"""The end of a file after its pages: read and checked once, and kept in the cache."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tables.errors import DamagedError
from tables.parquet.decode_errors import reading
from tables.parquet.directory import Directory
from tables.parquet.open_file import directory_of_end, read_tail
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import Tail
from tables.storage.object_store import RangeFile


class FileEnd:
    """The end of one file. tail: what it must be; None: unknown. keys: in the cache, of the bytes, and of the directory
    in them
    """

    def __init__(
        self,
        name: str,
        open_file: Callable[[], RangeFile],
        tail: Tail | None,
        cache: ByteCache[Any, Any],
        keys: tuple[Any, Any],
    ) -> None:
        self._name, self._open_file, self._tail, self._cache = name, open_file, tail, cache
        self._key, self._directory_key = keys

    def read(self) -> Any | None:
        """The bytes; None: what they must be is not known. Raises: DamagedError, StorageError"""
        if self._tail is None:
            return None
        end = self._cache.get(self._key)
        if end is None:
            end = read_tail(self._name, self._open_file, self._tail)
            self._cache.put(self._key, end, len(end))
        return end

    def read_with_head(self, head_bytes: int) -> Any | None:
        """Reads the end, and at once so many bytes of the beginning, which it gives; None: the end is here already, or
        unknown, and nothing was read. Raises: DamagedError, StorageError
        """
        if self._tail is None or self._cache.size_of(self._key) is not None:
            return None
        with reading(self._name, "cannot be opened"):
            file = self._open_file()
            size = self._tail.size_bytes
            head, end = file.read_ranges([(0, min(head_bytes, file.size())), (file.size() - size, size)])
        if problem := self._tail.problem(end):
            raise DamagedError(self._name, problem)
        end = pa.py_buffer(end)
        self._cache.put(self._key, end, len(end))
        return head

    def directory(self, rows: int) -> Directory | None:
        """What it says of the file's columns; None: only Parquet's footer says it. rows: that the file must have

        Raises: DamagedError, StorageError
        """
        found: Directory | None = self._cache.get(self._directory_key)
        if found is not None:
            return found
        found = directory_of_end(self._name, self.read())
        if found is None:
            return None
        if found.rows != rows:
            raise DamagedError(self._name, f"has {found.rows} rows of {rows}")
        self._cache.put(self._directory_key, found, found.nbytes)
        return found
