"""Which attributes of merged rows have a column of their own, and which are in the overflow."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tables.columns import overflow
from tables.columns.arrays import valid_rows
from tables.columns.overflow import Overflow, SparseColumns, rarest, value_field
from tables.columns.types import Int64s
from tables.columns.whole_traces import SERVICE_NAME
from tables.merge.columns import Part
from tables.merge.inputs import Columns
from tables.schema import parse_attribute_column


@dataclass(slots=True)
class _Sparse:
    """The overflow of one of the parts. first: its first row among the rows of all"""

    first: int
    columns: SparseColumns
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = frozenset(self.columns.names)


def attribute_counts(columns: Columns) -> Counter[str]:
    """How many values each attribute has in an input, by the name of its column."""
    counts = Counter[str]()
    for name, array in columns.items():
        if parse_attribute_column(name) is not None:
            counts[name] = len(array) - array.null_count
    if overflow.COLUMN in columns:
        sparse = SparseColumns.of(columns[overflow.COLUMN])
        sizes = np.diff(sparse.ends, prepend=0)
        counts.update({name: int(sizes[number]) for name, number in sparse.names.items()})
    return counts


def rare_attributes(counts: Mapping[str, int], attribute_columns_max: int) -> frozenset[str]:
    """The columns that go to the overflow."""
    if len(counts) <= attribute_columns_max and all(len(name) <= overflow.KEY_CHARS_MAX for name in counts):
        return frozenset()
    attributes: dict[tuple[str, Any], int] = {}
    for name, count in counts.items():
        attribute = parse_attribute_column(name)
        assert attribute is not None
        attributes[attribute.key, (attribute.scope, attribute.type, name)] = count
    # The facts of a trace need its column.
    return frozenset(kind[-1] for _, kind in rarest(attributes, attribute_columns_max)) - {SERVICE_NAME}


class Attributes:
    """The attributes of some parts that are, or will be, in the overflow."""

    def __init__(self, parts: Sequence[Part], rare: frozenset[str]) -> None:
        self.rare = rare
        self._rows = sum(part.rows for part in parts)
        self._sparse: list[_Sparse] = []
        first = 0
        for part in parts:
            lists = part.columns.get(overflow.COLUMN)
            if lists is not None:
                self._sparse.append(_Sparse(first, SparseColumns.of(lists)))
            first += part.rows

    def from_overflow(self) -> list[str]:
        """Attributes that some part has in its overflow, and that get a column."""
        return sorted({name for one in self._sparse for name in one.names} - self.rare)

    def column(self, name: str, own: Any | None) -> Any:
        """The column of an attribute that some parts have in their overflow, and others (own) in a column."""
        arrays: list[Any] = []
        index = np.full(self._rows, -1, np.int64)
        end = 0
        if own is not None:
            arrays.append(own)
            valid = own.is_valid().to_numpy(zero_copy_only=False)
            index[valid] = np.flatnonzero(valid)
            end = self._rows
        for one in self._sparse:
            if name in one.names:
                at, values = one.columns.column(name)
                index[at + one.first] = end + np.arange(len(at))
                arrays.append(values)
                end += len(at)
        return overflow.joined_values(arrays).take(pa.array(index, mask=index < 0))

    def to_overflow(self, parts: Sequence[Part], names: Iterable[str], place: Int64s | None) -> dict[str, Any]:
        """The column `overflow`, if any row has an entry.

        names: those of `rare` that some parts have as columns: may be thousands. So only their values are put together,
        not a column as long as all parts.
        place: the new row of each old one, -1: it is left out; None: rows stay where they are
        """
        collected = Overflow(self._rows if place is None else int((place >= 0).sum()))
        firsts = np.cumsum([0, *(part.rows for part in parts)]).tolist()
        for name in names:
            found = [
                (first, array)
                for first, part in zip(firsts, parts, strict=False)
                if (array := part.columns.get(name)) is not None and array.null_count < len(array)
            ]
            if found:
                rows = np.concatenate([first + np.flatnonzero(valid_rows(array)) for first, array in found])
                values = overflow.joined_values([array.drop_null() for _, array in found])
                _add(collected, rows, _entries(name, values), place)
        for one in self._sparse:
            stay = np.zeros(len(one.columns.ends), np.bool_)
            stay[[number for name, number in one.columns.names.items() if name in self.rare]] = True
            at = np.flatnonzero(np.repeat(stay, np.diff(one.columns.ends, prepend=0)))
            if len(at):
                rows = one.columns.rows[at].astype(np.int64) + one.first
                _add(collected, rows, one.columns.entries.take(pa.array(at)), place)
        return {name: overflow.sorted_entries(lists) for name, lists in collected.columns().items()}


def _add(collected: Overflow, rows: Int64s, entries: Any, place: Int64s | None) -> None:
    if place is not None:
        rows = place[rows]
        kept = np.flatnonzero(rows >= 0)
        if len(kept) < len(rows):
            rows, entries = rows[kept], entries.take(pa.array(kept))
    collected.add(rows, entries)


def _entries(name: str, values: Any) -> pa.StructArray:
    attribute = parse_attribute_column(name)
    assert attribute is not None
    if attribute.type.endswith("[]"):
        values = overflow.serialized_lists(values, attribute.type)
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(values), np.int32)), pa.array([name]))
    return overflow.entries(names, value_field(attribute.type), values)
