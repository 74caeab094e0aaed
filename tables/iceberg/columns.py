"""The span table as Iceberg sees it: which columns it has, and with which types."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

from tables.schema import FIXED, OPTIONAL

# A list's items have this name in Iceberg. Names of columns and of what is in them share one index there.
_ITEM: Final = ".element"
_LIST: Final = "[]"


def iceberg_type(type_: Any) -> Any:
    """The type of a file's column in Iceberg.

    Iceberg has neither small nor unsigned integers. int8 becomes int, uint32 becomes long: both hold every value.
    """
    if pa.types.is_list(type_):
        return pa.list_(pa.field("element", iceberg_type(type_.value_type)))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(field.name, iceberg_type(field.type)) for field in type_])
    if type_ == pa.uint32():
        return pa.int64()
    return pa.int32() if type_ == pa.int8() else type_


def base_schema() -> pa.Schema:
    """The columns that every table has from the start, in the order of `tables.schema`."""
    return pa.schema([pa.field(field.name, iceberg_type(field.type)) for field in (*FIXED, *OPTIONAL)])


def new_columns(
    known: Collection[str], files: Iterable[Mapping[str, Any]], columns_max: int
) -> tuple[pa.Schema, frozenset[str]]:
    """The columns that a table lacks: those to add, sorted by name, and those that it cannot have.

    files: the columns of each file with their types in it
    A column is left out beyond `columns_max` columns, or if its name is that of a list's items.
    """
    lacking: dict[str, Any] = {}
    for types in files:
        lacking |= {name: types[name] for name in types.keys() - known}
    unfit = {name for name in lacking if name.endswith(_LIST + _ITEM)}
    fit = sorted(lacking.keys() - unfit)
    room = max(0, columns_max - len(known))
    added = pa.schema([pa.field(name, iceberg_type(lacking[name])) for name in fit[:room]])
    return added, frozenset(unfit | set(fit[room:]))
