"""Work that waits for storage, done by several threads at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def at_once(pool: Executor, calls: Sequence[Callable[[], T]]) -> list[T]:
    """What the calls return, in their order. The pool's threads make them in copies of the caller's
    context, which says for whom requests are counted.

    Raises: what the first of them in order raises; those that have not begun are then not made
    """
    futures = [pool.submit(copy_context().run, call) for call in calls]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
