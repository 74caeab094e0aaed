"""Many Python objects, some at a time: no other thread can interrupt what one call creates or frees.

The GIL moves from thread to thread between bytecodes. A call that creates a list of a million values, or drops the last
reference to one, is a single bytecode, however long it takes. Meanwhile the event loop stalls, and nothing is received
or acknowledged.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

# A millisecond's work, or a few where they are long texts.
AT_ONCE: Final = 1024


def pieces(items: Sequence[T], size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """The items in several shorter sequences."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def as_list(array: Any) -> list[Any]:
    """As a pyarrow array's `to_pylist`, in several calls."""
    if len(array) <= AT_ONCE:
        found: list[Any] = array.to_pylist()
        return found
    out: list[Any] = []
    for first in range(0, len(array), AT_ONCE):
        out += array.slice(first, AT_ONCE).to_pylist()
    return out


def consumed(items: list[T]) -> Iterator[T]:
    """Yields each item, and removes it from the list."""
    items.reverse()
    while items:
        yield items.pop()


def drop(items: list[Any] | dict[Any, Any]) -> None:
    """Empties a list or a dictionary in steps, so that no single bytecode frees all items."""
    if isinstance(items, list):
        while items:
            del items[-AT_ONCE:]
    else:
        while items:
            items.popitem()
