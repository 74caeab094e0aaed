"""Which rows a client sent twice: rows with equal keys are compared field by field, and what was found is kept.

Rows have thousands of columns, and few rows are compared. So columns that are cheap to read decide first. Then all
columns are read, of the rows that are still alike. Rows of files never change, so the result is kept for the next
query.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.absent import filled
from tables.columns.arrays import one_array, plain, spread_bytes
from tables.columns.equal_rows import equal_rows, row_hashes
from tables.columns.nested_set import MIX
from tables.columns.sorted_sets import unique
from tables.columns.types import Bools, Int64s, UInt64s
from tables.columns.whole_traces import FACT_COLUMNS

# Every file has them, most queries read them, and they differ where a client gives several spans one id.
FIRST_COLUMNS: Final = ("name", "status_code", "status_message")
# Results are kept apart for the rows of each combination of contents, so that a new file changes few of them. Above
# this number of combinations they are kept as one.
_COMBINATIONS_MAX: Final = 256
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


@dataclass(frozen=True, slots=True, eq=False)
class Origins:
    """Where rows lie.

    contents: names of contents that never change; None: one without a name
    number: which of the contents each row is in; row: its number there
    """

    contents: Sequence[str | None]
    number: Int64s
    row: Int64s


@dataclass(slots=True, eq=False)
class Kept:
    """Results by name. get: the result, if it is still there; put: keeps one. Both are told the content that it is
    about, or one of them.
    """

    get: Callable[[str, str], Bools | None]
    put: Callable[[str, str, Bools], None]


@dataclass(slots=True, eq=False)
class _Part:
    """Rows of one combination of contents. rows: ascending; content: one of theirs, name: of the result"""

    rows: Int64s
    content: str
    name: str | None
    found: Bools | None = field(default=None)


def known_repeated(group: Int64s, origins: Origins, kept: Kept, find: Callable[[Int64s], Bools]) -> Bools:
    """Which rows equal another one of their group, of which one stays; with what was found before.

    find: says which of some rows are repeated, as `repeated_rows`. In: their numbers, ascending, of each group at least
    two; called at most twice
    """
    repeated = np.zeros(len(group), np.bool_)
    rest = np.arange(len(group))
    # Where some of a group lie in contents without a name, such as a head, the others are compared first: that is kept,
    # and only one of those that are equal is compared with the new ones. A client may send a span again and again.
    named = _beside_unnamed(group, origins)
    if len(named):
        repeated[named] = _known(named, group, origins, kept, find)
        rest = np.flatnonzero(~repeated)
    repeated[rest] = _known(rest, group, origins, kept, find)
    return repeated


def _beside_unnamed(group: Int64s, origins: Origins) -> Int64s:
    """The rows in contents with a name, of groups that have several of these, and others, too."""
    has_name = np.array([content is not None for content in origins.contents], np.bool_)[origins.number]
    if has_name.all() or not has_name.any():
        return np.empty(0, np.int64)
    numbered = np.cumsum(np.r_[True, group[1:] != group[:-1]]) - 1
    named = np.bincount(numbered, has_name)
    mixed = (named > 1) & (named < np.bincount(numbered))
    return np.flatnonzero(has_name & mixed[numbered])


def _known(some: Int64s, groups: Int64s, all_origins: Origins, kept: Kept, find: Callable[[Int64s], Bools]) -> Bools:
    """`known_repeated` of some rows."""
    group = groups[some]
    origins = Origins(all_origins.contents, all_origins.number[some], all_origins.row[some])
    repeated = np.zeros(len(group), np.bool_)
    parts = _parts(group, origins)
    for part in parts:
        if part.name is not None:
            part.found = kept.get(part.content, part.name)
        if part.found is not None:
            repeated[part.rows] = part.found
    missing = [part for part in parts if part.found is None]
    if missing:
        rows = np.sort(np.concatenate([part.rows for part in missing]))
        repeated[rows] = find(some[rows])
        for part in missing:
            if part.name is not None:
                kept.put(part.content, part.name, repeated[part.rows])
    return repeated


def _parts(group: Int64s, origins: Origins) -> list[_Part]:
    if not len(group):
        return []
    first = np.r_[True, group[1:] != group[:-1]]
    numbered = np.cumsum(first) - 1
    count = len(origins.contents)
    # A number for the set of contents of each group. If two sets have one number, their rows are one part.
    pairs = unique(numbered * count + origins.number)
    sets = np.zeros(int(numbered[-1]) + 1, np.uint64)
    salt = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * MIX
    salt ^= salt >> np.uint64(31)
    np.add.at(sets, pairs // count, (salt * salt * MIX)[pairs % count])
    combinations, of_group = np.unique(sets, return_inverse=True)
    if len(combinations) > _COMBINATIONS_MAX:
        of_group = np.zeros(len(sets), np.int64)
    of_row = of_group[numbered]
    order = np.argsort(of_row, kind="stable")
    cuts = np.flatnonzero(np.diff(of_row[order])) + 1
    return [_part(rows, first, origins) for rows in np.split(order, cuts)]


def _part(rows: Int64s, first: Bools, origins: Origins) -> _Part:
    numbers, local = np.unique(origins.number[rows], return_inverse=True)
    contents = [origins.contents[number] for number in numbers.tolist()]
    names = [content for content in contents if content is not None]
    if len(names) < len(contents):
        return _Part(rows, "", None)
    digest = blake2b("\n".join(names).encode(), digest_size=16)
    for array in (local, origins.row[rows], first[rows]):
        digest.update(np.int64(len(array)).tobytes() + np.ascontiguousarray(array).tobytes())
    return _Part(rows, names[0], f"repeated {digest.hexdigest()}")
