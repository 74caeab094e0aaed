"""How much memory this process holds, as its allocators count it: also what was never touched, so not resident."""

import ctypes
import gc
import sys
from functools import cache
from typing import Any

import pyarrow as pa

# Of what Python takes from its own arenas, which the C library does not see: a small object, roughly.
_BLOCK_BYTES = 64


class _Counts(ctypes.Structure):
    """What glibc counts of its memory: its `struct mallinfo2`, field by field."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def held_bytes() -> int:
    """Bytes that are in use; 0 where the C library does not say it."""
    count = _mallinfo2()
    if count is None:
        return 0
    gc.collect()
    counts = count()
    return int(counts.uordblks + counts.hblkhd + pa.total_allocated_bytes() + sys.getallocatedblocks() * _BLOCK_BYTES)


@cache
def _mallinfo2() -> Any:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _Counts
    return function
