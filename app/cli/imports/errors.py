"""What goes wrong in an import."""

from app.errors import StrettoError


class ImportFailed(StrettoError):  # noqa: N818  # ImportError is Python's
    """The import cannot begin or go on, or is not complete: why, and what to do."""
