"""Errors of this package."""


class WireError(ValueError):
    """Bytes from a client or from Kafka that cannot be read: what is wrong with them.

    reason: a word for metrics: `malformed`, `panic` (the decoder gave up), `too_slow`, `unexpected` (a fault here)
    """

    def __init__(self, message: str = "", reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


class StorageError(OSError):
    """Object storage or the local store did not do what it must: what, where, and what to do."""


class NotQuick(Exception):  # noqa: N818  # a state, not a fault of anybody
    """It takes too long where it was asked for; nothing was done."""
