"""Types of Arrow that hold the same values, though not in the same form."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa


def alike(type_: Any, wanted: Any, same: Callable[[Any, Any], bool]) -> bool:
    """Whether two types are lists and structs of the same shape, with the same names of fields, and `same` says so of
    what is in them. What may be null does not count, nor how the items of lists are called.

    same: compares types that are neither lists nor structs, the wanted one last
    """
    if pa.types.is_list(wanted):
        return pa.types.is_list(type_) and alike(type_.value_type, wanted.value_type, same)
    if pa.types.is_struct(wanted):
        return (
            pa.types.is_struct(type_)
            and [field.name for field in type_] == [field.name for field in wanted]
            and all(alike(one.type, other.type, same) for one, other in zip(type_, wanted, strict=True))
        )
    return same(type_, wanted)
