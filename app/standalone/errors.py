"""What can go wrong before the worker has taken over.

StrettoError
└── StandaloneError   `stretto run` cannot go on: what, where, what to do
"""

from app.errors import StrettoError


class StandaloneError(StrettoError):
    """A problem of the machine, not of the settings: a port, a download, a process that keeps dying."""
