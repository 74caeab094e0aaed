"""What a source needs of a Parquet file with one row group, whichever part of it describes the columns."""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, Protocol

import pyarrow as pa

from tables.columns.arrays import list_values, one_array
from tables.parquet.directory import Bounds

# The end of the path of the leaf that has the attribute keys of events or links.
KEY_LEAF: Final = ".attributes.list.element.key"
# Arrow's own threads pay only where there are many leaves.
_LEAVES_OF_ONE_THREAD_MAX: Final = 16

Range = tuple[int, int]  # start and length


class ColumnShape(NamedTuple):
    """type: of the column; leaves: how many leaf columns it has"""

    type: Any
    leaves: int


class FileColumns(Protocol):
    """The columns of a file. What reads the file raises DamagedError, StorageError."""

    @property
    def names(self) -> Collection[str]:
        """Those that the file has of its own, in their order."""
        ...

    @property
    def knows_integers(self) -> bool:
        """Whether `bounds_of` knows all columns of integers, and not only those of `BOUNDED`."""
        ...

    def hidden(self) -> frozenset[str]:
        """Names of the columns in the overflow."""
        ...

    def bounds_of(self, column: str) -> Bounds | None:
        """Least and greatest value of an integer column; None where not known."""
        ...

    def decoded_bytes(self, column: str) -> int:
        """About how much memory the column takes, rather too much."""
        ...

    def chunks(self, columns: Sequence[str]) -> list[Range]:
        """Where the bytes of each of their leaves lie."""
        ...

    def shape(self, column: str) -> ColumnShape:
        """The type of the column, and into how many leaves Parquet splits it."""
        ...

    def decode(self, columns: Sequence[str]) -> list[Any]:
        """All rows of the columns, in the order of `columns`. A column of texts is a DictionaryArray."""
        ...

    def entry_count(self, column: str) -> int:
        """How many values the leaf of attribute keys has. In: a column of events or links"""
        ...

    def entry_keys(self, column: str) -> Any:
        """The attribute keys of a column of events or links, as DictionaryArray. Of all leaves only that of the keys is
        read.
        """
        ...


def is_many(leaves: Collection[int]) -> bool:
    """Whether Arrow's own threads should decode so many leaves."""
    return len(leaves) > _LEAVES_OF_ONE_THREAD_MAX


def innermost(column: Any) -> Any:
    """The values of a leaf that was read as a dictionary, without the lists and structs around them."""
    array = one_array(column)
    while not pa.types.is_dictionary(array.type):
        array = list_values(array) if pa.types.is_list(array.type) else array.field(0)
    return array
