"""Errors of this package."""


class WireError(ValueError):
    """Bytes from a client or from Kafka that cannot be read: what is wrong with them."""


class StorageError(OSError):
    """Object storage or the local store did not do what it must: what, where, and what to do."""
