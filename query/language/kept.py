"""What is made of a query's text, kept: a query is looked at before it waits for a thread and once more there, and
dashboards ask the same ones again and again.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

T = TypeVar("T")

# Of so many texts, if they are no longer than this.
_KEPT_MAX: Final = 256
_KEPT_CHARS_MAX: Final = 1000


def kept(make: Callable[[str], T]) -> Callable[[str], T]:
    """`make`, which is called once for a short text as long as that is kept. What it raises is not kept."""
    of_short_text = lru_cache(maxsize=_KEPT_MAX)(make)

    @wraps(make)
    def of_text(text: str) -> T:
        return of_short_text(text) if len(text) <= _KEPT_CHARS_MAX else make(text)

    return of_text
