"""What a fuzz target is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEPT: Final = Path(__file__).parent / "seeds"


@dataclass(frozen=True, slots=True)
class Target:
    """One reader of bytes from outside.

    run: takes any bytes; raises where the product does what it must not do
    make_seeds: good inputs, from which mutation starts
    words: pieces that mutation puts in, such as keywords and extreme numbers
    protobuf: whether inputs are protobuf messages, so that mutation may keep their frame
    """

    name: str
    run: Callable[[bytes], None]
    make_seeds: Callable[[], list[bytes]]
    words: Sequence[bytes] = ()
    protobuf: bool = False

    def seeds(self) -> list[bytes]:
        """Good inputs, and those that broke something once."""
        kept = sorted((KEPT / self.name).glob("*")) if (KEPT / self.name).is_dir() else []
        return self.make_seeds() + [path.read_bytes() for path in kept]
