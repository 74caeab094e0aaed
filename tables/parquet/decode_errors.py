"""What is wrong with a Parquet file, found out while it is decoded."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import value_slots
from tables.columns.arrow_types import alike
from tables.errors import DamagedError, StorageError


def check_codes(name: str, arrays: Iterable[Any]) -> None:
    """No checksum covers how many values the header of a dictionary's page says that there are.

    In: the file's name; what was decoded of it. Raises: DamagedError where an index has no value
    """
    for array in arrays:
        if isinstance(array, pa.DictionaryArray) and array.null_count < len(array):
            indices = array.indices
            # Numpy answers in a fifth of the time. Where a row is null it may see anything.
            most = int(value_slots(indices).max())
            if most >= len(array.dictionary) and array.null_count:
                most = pc.max(indices).as_py()
            if most >= len(array.dictionary):
                raise DamagedError(name, f"has a dictionary of {len(array.dictionary)} values without number {most}")


@contextmanager
def reading(name: str, problem: str) -> Iterator[None]:
    """What Arrow cannot read inside is damaged; what the storage cannot give now is not. problem: for the error"""
    try:
        yield
    except (StorageError, MemoryError):
        raise
    except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError, KeyError) as err:
        raise DamagedError(name, f"{problem}: {str(err)[:200]}") from err


def check_type(name: str, column: str, array: Any, wanted: Any) -> None:
    """No checksum covers what the footer says that the bytes of a column are.

    In: the file's name; the column's type in the span table. Raises: DamagedError where it is another one
    """
    if not alike(array.type, wanted, _same):
        raise DamagedError(name, f"has a column {column} of type {array.type}, not {wanted}")


def _same(type_: Any, wanted: Any) -> bool:
    """Whether types are equal but for dictionaries."""
    return bool((type_.value_type if pa.types.is_dictionary(type_) else type_) == wanted)
