"""Faults: what reading foreign bytes may raise."""

import asyncio
from typing import Final

# These say that the work is to end, not that something is wrong with it.
_ENDS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError)


def is_fault(err: BaseException) -> bool:
    """Whether an exception is a fault of the work that raised it.

    Native code raises more than `Exception`: a panic of a library in Rust is a BaseException. Who catches
    BaseException, and asks here, survives that too.
    """
    return not isinstance(err, _ENDS)
