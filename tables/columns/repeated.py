"""Which rows a client sent twice: rows with equal keys are compared field by field, or by digests of all fields.

Rows have thousands of columns, and few rows are compared. So columns that are cheap to read decide first. Then all
columns are read, of the rows that are still alike. Whoever asks again and again keeps digests.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.absent import filled
from tables.columns.arrays import one_array, plain, spread_bytes
from tables.columns.equal_rows import equal_rows, row_hashes
from tables.columns.types import Bools, Int64s, UInt64s
from tables.columns.whole_traces import FACT_COLUMNS

# Every file has them, most queries read them, and they differ where a client gives several spans one id.
FIRST_COLUMNS: Final = ("name", "status_code", "status_message")
_PLAIN_BYTES_MAX: Final = 1 << 20


def repeated_rows(group: Int64s, columns: Callable[[], Mapping[str, Any]]) -> Bools:
    """Which rows equal an earlier one of their group in every field that a client sent.

    group: number of each row's group, ascending; columns: a function that returns all columns of these rows, called
    only if there are any
    """
    repeated = np.zeros(len(group), np.bool_)
    if not len(group):
        return repeated
    sent = [array for name, array in columns().items() if name not in FACT_COLUMNS]
    hashes = _hashes(len(group), sent)
    order = np.lexsort((hashes, group))
    later, earlier = order[1:], order[:-1]
    alike = (group[later] == group[earlier]) & (hashes[later] == hashes[earlier])
    # Rows with one hash are compared with the first of them.
    first = order[np.maximum.accumulate(np.where(np.r_[True, ~alike], np.arange(len(order)), 0))][1:]
    left, right = first[alike], later[alike]
    equal = np.ones(len(left), np.bool_)
    for array in sent:
        equal &= equal_rows(array, left, right)
    repeated[right[equal]] = True
    return repeated


def alike_rows(group: Int64s, columns: Mapping[str, Any]) -> Int64s:
    """The rows, ascending, that may equal another one of their group: some columns do not tell them apart.

    group: as of `repeated_rows`; columns: some of the columns of these rows
    """
    hashes = _hashes(len(group), columns.values())
    order = np.lexsort((hashes, group))
    same = (group[order[1:]] == group[order[:-1]]) & (hashes[order[1:]] == hashes[order[:-1]])
    return np.sort(order[np.r_[same, False] | np.r_[False, same]]) if len(group) else order


def repeated_in_steps(
    group: Int64s, first: Callable[[], Mapping[str, Any]], every: Callable[[Int64s], Mapping[str, Any]]
) -> Bools:
    """As `repeated_rows`. All columns are read only of rows that FIRST_COLUMNS do not tell apart: few are left where a
    client gives several spans one id.

    first: gives FIRST_COLUMNS of all of the rows; every: gives all columns of some of them, by their numbers, ascending
    """
    repeated = np.zeros(len(group), np.bool_)
    if len(group):
        alike = alike_rows(group, first())
        repeated[alike] = repeated_rows(group[alike], lambda: every(alike))
    return repeated


def repeated_by_digest(group: Int64s, first: Mapping[str, Any], digests: Callable[[Int64s], UInt64s]) -> Bools:
    """As `repeated_in_steps`, by digests of rows in place of their columns (`tables.columns.row_digests`).

    first: FIRST_COLUMNS of all of the rows; digests: of some of them, by their numbers, ascending
    """
    repeated = np.zeros(len(group), np.bool_)
    alike = alike_rows(group, first)
    if len(alike):
        repeated[alike[repeated_digests(group[alike], digests(alike))]] = True
    return repeated


def repeated_digests(group: Int64s, digests: UInt64s) -> Int64s:
    """The rows, ascending, that have the digest of an earlier one of their group."""
    order = np.lexsort((digests, group))
    same = (group[order[1:]] == group[order[:-1]]) & (digests[order[1:]] == digests[order[:-1]])
    return np.sort(order[1:][same])


def _hashes(rows: int, arrays: Any) -> UInt64s:
    hashes = np.zeros(rows, np.uint64)
    for array in arrays:
        hashes = hashes * np.uint64(31) + row_hashes(array)
    return hashes


def as_sent(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of rows from several files in the form in which rows are compared: what no file has as one seal of all
    rows makes it. Texts stay codes where a copy for each row would take much.
    """
    return {name: filled(name, _plain_if_small(array)) for name, array in columns.items()}


def _plain_if_small(array: Any) -> Any:
    is_text = pa.types.is_dictionary(array.type) and array.type.value_type in (pa.string(), pa.binary())
    return array if is_text and spread_bytes(array) > _PLAIN_BYTES_MAX else plain(array)


def concatenated(tables: Sequence[Mapping[str, Any]], rows: Int64s) -> dict[str, Any]:
    """Rows of several files as one set of columns, null where a file has not the column.

    tables: the columns of each file; rows: for each of their rows, one file below the other, its place in the result
    """
    tables = [pa.table({name: plain(array) for name, array in table.items()}) for table in tables]
    joined = pa.concat_tables(tables, promote_options="default")
    order = pa.array(np.argsort(rows))
    return {name: one_array(joined[name]).take(order) for name in joined.column_names}
