"""Errors of this package."""

from typing import Final, TypeVar

E = TypeVar("E", bound=BaseException)


def as_value(err: E) -> E:
    """The error, for somebody who keeps it: without what it came from, and without its traceback. That has all that the
    functions had which it passed through, and those that called them; who keeps it may be one of these. Such a cycle
    stays until a full garbage collection.
    """
    err.__traceback__ = err.__cause__ = err.__context__ = None
    return err


class WireError(ValueError):
    """Unreadable bytes from a client or from Kafka: the text says what is wrong with them.

    reason: a metric label: `malformed`, `panic` (of the decoder), `too_slow`, `unexpected` (a bug)
    """

    def __init__(self, message: str = "", reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


class FaultyRequests(WireError):  # noqa: N818  # says which
    """Requests of a batch that cannot be decoded; nothing is said of the others, and none was decoded.

    faults: by the request's number in the batch; the text is the first one's
    """

    def __init__(self, faults: "dict[int, WireError]") -> None:
        super().__init__(str(next(iter(faults.values()))))
        self.faults = faults


# What to do about bytes whose format a newer version of the program has introduced.
NEWER: Final = "a newer version of Stretto has written it: update this process (docs/upgrades.md)"


class StorageError(OSError):
    """An operation of object storage or of the local store failed: the text says which, where, and what to do."""


class UnusableStorage(StorageError):  # noqa: N818  # says what the storage is
    """The storage answers, but it does not allow or support what Stretto needs. The text says what to change."""


class DamagedError(StorageError):
    """An object is missing, or differs from what was written. A retry does not help before somebody repairs it.

    path: of the object, or the name of a local segment
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path, self.problem = path, problem


class OutdatedError(StorageError):
    """The data that a query reads was replaced meanwhile. A new view has the same spans elsewhere."""


class NeedsSlowPath(Exception):  # noqa: N818  # a state, not a fault of anybody
    """The work takes too long on this thread; nothing was done."""
