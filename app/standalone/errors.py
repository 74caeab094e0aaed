"""What can go wrong before the worker has taken over.

StrettoError
└── StandaloneError   `stretto run` cannot go on: what, where, what to do
"""

from app.errors import StrettoError


class StandaloneError(StrettoError):
    """The machine, not the settings, is in the way: a port, a download, a process that keeps dying."""
