"""Reads of several small objects, overlapped: most of the time of each is waiting."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from tables.errors import DamagedError, StorageError, as_value
from tables.storage.at_once import at_once

K = TypeVar("K")
V = TypeVar("V")

_THREADS: Final = 8
# How many objects may fail to be read before the storage counts as away.
_FAILURES_MAX: Final = 3


def read_many(read: Callable[[K], V], keys: Sequence[K]) -> dict[K, V | StorageError]:
    """What `read` returns for each key, or the StorageError that it raises. It runs on a few threads.

    Raises: StorageError if the storage seems to be away: more than three reads failed, not counting damaged objects
    """
    failures: list[StorageError] = []
    lock = threading.Lock()

    def one(key: K) -> V | StorageError:
        if len(failures) > _FAILURES_MAX:
            return failures[0]  # the others need not wait for their timeouts
        try:
            return read(key)
        except DamagedError as err:
            return as_value(err)
        except StorageError as err:
            with lock:
                failures.append(as_value(err))
            return err

    if len(keys) <= 1:
        found = {key: one(key) for key in keys}
    else:
        with ThreadPoolExecutor(min(_THREADS, len(keys)), "read-many") as pool:
            found = dict(zip(keys, at_once(pool, [partial(one, key) for key in keys]), strict=True))
    if len(failures) > _FAILURES_MAX:
        raise failures[0]
    return found
