"""Errors of this package."""


class WireError(ValueError):
    """Bytes from a client or from Kafka that cannot be read: what is wrong with them.

    reason: a word for metrics: `malformed`, `panic` (the decoder gave up), `too_slow`, `unexpected` (a fault here)
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


class StorageError(OSError):
    """Object storage or the local store did not do what it must: what, where, and what to do."""


class DamagedError(StorageError):
    """An object that is missing or is not what was written: asking again does not help until somebody repairs it.

    path: of the object, or the name of a local segment
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path, self.problem = path, problem


class OutdatedError(StorageError):
    """What a query reads was replaced meanwhile: a new view of the data has the same spans elsewhere."""


class NeedsSlowPath(Exception):  # noqa: N818  # a state, not a fault of anybody
    """It takes too long where it was asked for; nothing was done."""
