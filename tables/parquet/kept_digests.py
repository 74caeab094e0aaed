"""Digests of rows of files, made once: files never change."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tables.columns.row_digests import NO_DIGESTS, KnownDigests
from tables.columns.types import Int64s, UInt64s
from tables.storage.byte_cache import ByteCache

# In place of a column's name.
DIGESTS: Final = "\0digests"
# In a small file, opening its columns is most of what a digest takes.
_FEW_ROWS: Final = 4096
# In a large one, digests of all rows take four times what reading its columns for a few rows does.
_TIMES_SOME: Final = 3


def kept_digests(
    cache: ByteCache[Any, Any], key: Any, rows: Int64s, file_rows: int, make: Callable[[Int64s], UInt64s]
) -> UInt64s:
    """The digests of some rows of a file.

    Making any reads all columns of the file. So whoever asks for other rows again and again gets those of all rows
    made: a client that sends old spans again makes no file be read by every query.

    key: of what the cache has of the file; file_rows: how many it has; make: as of `KnownDigests.with_rows`
    """
    before: KnownDigests = cache.get(key) or NO_DIGESTS
    makes_all = file_rows <= _FEW_ROWS or (before.times >= _TIMES_SOME and not before.has(rows))
    known = before.with_rows(np.arange(file_rows) if makes_all else rows, make)
    if known is not before:
        cache.put(key, known, known.nbytes, costly=True)  # all columns of the file were read for them
    return known.of(rows)
