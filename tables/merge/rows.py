"""The rows of some whole traces, from several inputs, as one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from tables.columns import overflow
from tables.columns.arrays import take_rows
from tables.columns.repeated import FIRST_COLUMNS, repeated_in_steps
from tables.columns.types import Int64s
from tables.free_memory import FreeMemoryLimit
from tables.merge.attributes import Attributes
from tables.merge.codes import without_unused
from tables.merge.columns import Part, column_names, joined
from tables.merge.facts import set_facts
from tables.merge.moved import Moved
from tables.merge.order import RowOrder, moved, row_order
from tables.schema import FIXED

# How often memory of columns that are done is looked at, in bytes: Arrow's pool does not reuse all of it, as the next
# column's pieces have other sizes.
_FREED_BYTES_MAX: Final = 16 << 20


@dataclass(slots=True, eq=False)
class MergedRows:
    """table: sorted, in the form of `tables.schema`, with each value of its dictionaries in some row

    repeated: how many rows were left out since they came twice
    """

    table: pa.Table
    repeated: int

    def free(self) -> None:
        """Drops the rows."""
        self.table = self.table.slice(0, 0).select([])


def merge_rows(parts: Sequence[Part], rare: frozenset[str], memory: FreeMemoryLimit) -> MergedRows:
    """The rows sorted, without exact duplicates, with the facts of their traces.

    parts: all rows that the inputs have of some traces; at least one row
    rare: attributes that go to the overflow; memory: what the allocators may keep
    """
    order = row_order(parts)
    attributes = Attributes(parts, rare)
    dropped = _drop_repeated(order, parts, attributes)
    columns = _columns(parts, order.rows, attributes, memory)
    set_facts(columns, order)
    rows = len(order.rows)
    fixed = {field.name: columns.pop(field.name, None) for field in FIXED}
    table = {
        field.name: pa.nulls(rows, field.type) if (array := fixed[field.name]) is None else array for field in FIXED
    }
    return MergedRows(pa.table(table | columns), dropped)


def _drop_repeated(order: RowOrder, parts: Sequence[Part], attributes: Attributes) -> int:
    total = sum(part.rows for part in parts)
    suspects, group = order.suspects()
    repeated = repeated_in_steps(
        group,
        lambda: {name: joined(name, parts, Moved(order.rows[suspects], total)) for name in FIRST_COLUMNS},
        lambda alike: _columns(parts, order.rows[suspects[alike]], attributes),
    )
    if repeated.any():
        order.drop(suspects[repeated])
    return int(repeated.sum())


def _columns(
    parts: Sequence[Part], rows: Int64s, attributes: Attributes, memory: FreeMemoryLimit | None = None
) -> dict[str, Any]:
    """All columns of some rows but those without a value.

    rows: which of all rows, in their new order; memory: None: the parts must keep what is done
    """
    total = sum(part.rows for part in parts)
    order = moved(rows, total)
    all_used = len(rows) == total and all(part.whole for part in parts)
    hidden = set(attributes.from_overflow())
    columns: dict[str, Any] = {}
    freed = 0
    given = [name for name in column_names(parts) if name != overflow.COLUMN]
    rare = [name for name in given if name in attributes.rare]
    names = dict.fromkeys(name for name in given if name not in attributes.rare)
    for name in [*names, *sorted(hidden.difference(names))]:
        if name in hidden:
            own = joined(name, parts, None) if name in names else None
            array = attributes.column(name, own)
            array = array if order is None else take_rows(array, order.rows)
            array = without_unused(array) if pa.types.is_dictionary(array.type) and not all_used else array
        else:
            array = joined(name, parts, order, trim=not all_used)
        if memory is not None:
            for part in parts:
                part.columns.pop(name, None)
            # About as much as is free now.
            freed += array.nbytes
            if freed >= _FREED_BYTES_MAX:
                freed = 0
                memory.keep()
        if array.null_count < len(array):
            columns[name] = array
    return columns | attributes.to_overflow(parts, rare, None if order is None else order.places())
