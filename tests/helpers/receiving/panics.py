"""What native code raises where it panics."""


class PanicException(BaseException):
    """Named and derived as pyo3's: `except Exception` does not see it."""
