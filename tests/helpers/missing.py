"""What a test does where a program that it needs is not installed."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(message: str) -> NoReturn:
    """Skips the test, and says why; in CI (variable CI is set), where everything must be there, it fails.

    message: what is missing, and how to install it
    """
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
