"""Digests of rows of files, made once: files never change."""

from collections.abc import Callable
from typing import Any, Final

from tables.columns.row_digests import NO_DIGESTS, KnownDigests
from tables.columns.types import Int64s, UInt64s
from tables.storage.byte_cache import ByteCache

# In place of a column's name.
DIGESTS: Final = "\0digests"


def kept_digests(cache: ByteCache[Any, Any], key: Any, rows: Int64s, make: Callable[[Int64s], UInt64s]) -> UInt64s:
    """The digests of some rows of a file. key: of what the cache has of it; make: as of `KnownDigests.with_rows`"""
    before: KnownDigests = cache.get(key) or NO_DIGESTS
    known = before.with_rows(rows, make)
    if known is not before:
        cache.put(key, known, known.nbytes, costly=True)  # all columns of the file were read for them
    return known.of(rows)
