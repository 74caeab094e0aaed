"""How many examples a randomised test tries."""

import os
from typing import Final

VARIABLE: Final = "TIMES_EXAMPLES"


def examples(count: int) -> int:
    """`count`, which `make test` has time for, times what the environment variable VARIABLE says (`make thorough`)."""
    return count * int(os.environ.get(VARIABLE) or 1)
