"""Joins the columns of several files: one table, its attributes in columns or in the overflow as if sealed together."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns import overflow
from tables.columns.arrays import numbers, one_array
from tables.columns.overflow import Overflow, SparseColumns, rarest, value_field
from tables.columns.types import Int64s
from tables.columns.whole_traces import SERVICE_NAME
from tables.schema import ATTRIBUTE_TYPES, OVERFLOW, parse_attribute_column

Columns = Mapping[str, Any]


@dataclass(slots=True)
class _Sparse:
    """The overflow of one of the files. first: its first row among the rows of all"""

    first: int
    columns: SparseColumns
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = frozenset(self.columns.names)

    def counts(self) -> dict[str, int]:
        ends = self.columns.ends
        sizes = np.diff(ends, prepend=0)
        return {name: int(sizes[number]) for name, number in self.columns.names.items()}


def join_columns(files: Sequence[Columns], attribute_columns_max: int) -> pa.Table:
    """The rows of the files, one after the other.

    files: columns as the files have them, the overflow among them; at least one
    attribute_columns_max: the rarest of further attributes go to the overflow, as at the seal
    Out: strings as dictionaries without unused values
    """
    sizes = [len(next(iter(columns.values()))) for columns in files]
    begins = np.cumsum([0, *sizes])
    plain = [pa.table({name: array for name, array in one.items() if name != overflow.COLUMN}) for one in files]
    joined = pa.concat_tables(plain, promote_options="default").unify_dictionaries()
    table = {name: one_array(joined[name]) for name in joined.column_names}
    sparse = [
        _Sparse(int(begin), SparseColumns.of(_plain_texts(one[overflow.COLUMN])))
        for begin, one in zip(begins[:-1].tolist(), files, strict=True)
        if overflow.COLUMN in one
    ]
    counts = Counter[str]()
    for name, array in table.items():
        if parse_attribute_column(name) is not None:
            counts[name] += len(array) - array.null_count
    for one in sparse:
        counts.update(one.counts())
    rare = _rare(counts, attribute_columns_max)
    collected = Overflow(int(begins[-1]))
    for name in [name for name in table if name in rare]:
        _move_to_overflow(collected, name, table.pop(name))
    for one in sparse:
        _keep_in_overflow(collected, one, rare)
    for name in sorted({name for one in sparse for name in one.names} - rare):
        table[name] = _with_sparse(name, table.get(name), sparse, int(begins[-1]))
    return pa.table({**table, **collected.columns()})


def without_unused_values(table: pa.Table) -> pa.Table:
    """The table with dictionaries that hold only what its rows use, and without columns that no row has a value in."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        array = one_array(table[name])
        if array.null_count == len(array):
            continue
        columns[name] = _pruned(array) if pa.types.is_dictionary(array.type) else array
    return pa.table(columns)


def _rare(counts: Mapping[str, int], attribute_columns_max: int) -> frozenset[str]:
    """Which columns go to the overflow."""
    if len(counts) <= attribute_columns_max and all(len(name) <= overflow.KEY_CHARS_MAX for name in counts):
        return frozenset()
    attributes: dict[tuple[str, Any], int] = {}
    for name, count in counts.items():
        attribute = parse_attribute_column(name)
        assert attribute is not None
        attributes[attribute.key, (attribute.scope, attribute.type, name)] = count
    # The facts of a trace need its column.
    return frozenset(kind[-1] for _, kind in rarest(attributes, attribute_columns_max)) - {SERVICE_NAME}


def _plain_texts(lists: Any) -> Any:
    """The overflow with plain strings: dictionaries inside of lists cannot be joined."""
    values = lists.values
    fields = [
        one.dictionary_decode() if pa.types.is_dictionary(one.type) else one
        for one in (values.field(number) for number in range(values.type.num_fields))
    ]
    structs = pa.StructArray.from_arrays(fields, fields=list(OVERFLOW))
    offsets = pa.Array.from_buffers(pa.int32(), len(lists) + 1, [None, lists.buffers()[1]], offset=lists.offset)
    mask = None if lists.null_count == 0 else lists.is_null()
    if mask is not None:
        return pa.ListArray.from_arrays(pc.fill_null(offsets, 0), structs, mask=mask)
    return pa.ListArray.from_arrays(offsets, structs)


def _move_to_overflow(collected: Overflow, name: str, array: Any) -> None:
    rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    attribute = parse_attribute_column(name)
    if not len(rows) or attribute is None:
        return
    values = array.drop_null()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if attribute.type.endswith("[]"):
        values = overflow.serialized_lists(values, attribute.type)
    names = pa.array([name]).take(pa.array(np.zeros(len(rows), np.int8)))
    collected.add(rows, overflow.entries(names, value_field(attribute.type), values))


def _keep_in_overflow(collected: Overflow, sparse: _Sparse, rare: frozenset[str]) -> None:
    columns = sparse.columns
    stay = np.zeros(len(columns.ends), np.bool_)
    stay[[number for name, number in columns.names.items() if name in rare]] = True
    at = np.flatnonzero(np.repeat(stay, np.diff(columns.ends, prepend=0)))
    if len(at):
        collected.add(columns.rows[at].astype(np.int64) + sparse.first, columns.entries.take(pa.array(at)))


def _with_sparse(name: str, own: Any | None, sparse: Sequence[_Sparse], rows: int) -> Any:
    """The column of an attribute that some of the files have in their overflow, and others (own) in a column."""
    attribute = parse_attribute_column(name)
    type_ = ATTRIBUTE_TYPES[attribute.type if attribute is not None else "string"]
    arrays: list[Any] = []
    index = np.full(rows, -1, np.int64)
    end = 0
    if own is not None:
        arrays.append(own.dictionary_decode() if pa.types.is_dictionary(own.type) else own)
        valid = own.is_valid().to_numpy(zero_copy_only=False)
        index[valid] = np.flatnonzero(valid)
        end = rows
    for one in sparse:
        if name in one.names:
            at, values = one.columns.column(name)
            index[at + one.first] = end + np.arange(len(at))
            arrays.append(values.cast(type_))
            end += len(at)
    found = pa.concat_arrays(arrays).take(pa.array(index, mask=index < 0))
    return found.dictionary_encode() if found.type == pa.string() else found


def _pruned(array: Any) -> Any:
    codes = array.indices
    valid = codes.is_valid().to_numpy(zero_copy_only=False)
    filled: Int64s = numbers(codes.fill_null(0)).astype(np.int64)
    used = np.bincount(filled[valid], minlength=len(array.dictionary)) > 0
    if used.all():
        return array
    dense = (np.cumsum(used) - 1).astype(np.int32)[filled]
    kept = array.dictionary.take(pa.array(np.flatnonzero(used)))
    return pa.DictionaryArray.from_arrays(pa.array(dense, mask=~valid), kept)
