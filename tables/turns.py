"""Many Python objects, some at a time: what one call makes or frees, no other thread can interrupt.

the GIL goes from thread to thread between bytecodes. A call that makes a list of a million values from an array,
or the end of the last reference to one, is one bytecode, however long it takes; meanwhile the event loop stands, and
nothing is received or acknowledged.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A millisecond's work, about.
AT_ONCE: Final = 4096


def pieces(items: Sequence[T], size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """The same items in several sequences."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def as_list(array: Any) -> list[Any]:
    """In: a pyarrow array. As its `to_pylist`."""
    if len(array) <= AT_ONCE:
        found: list[Any] = array.to_pylist()
        return found
    out: list[Any] = []
    for first in range(0, len(array), AT_ONCE):
        out += array.slice(first, AT_ONCE).to_pylist()
    return out


def consumed(items: list[T]) -> Iterator[T]:
    """Each item, after which it is no longer in the list."""
    items.reverse()
    while items:
        yield items.pop()


def drop(items: list[Any]) -> None:
    """Empties a list."""
    while items:
        del items[-AT_ONCE:]
