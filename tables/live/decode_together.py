"""Records of columns → batches of many records: what can be checked of their rows together is not checked for each."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import pyarrow as pa

from tables.errors import WireError, as_value
from tables.wire import record
from tables.wire.record_columns import check_nulls

# Called between pieces of long work; it raises where nobody wants the result any more.
GoOn = Callable[[], None]

# What is sealed costs some hundred µs for each batch, whatever its size: smaller ones are joined to about so many rows.
_JOINED_ROWS: Final = 4096
# Records that are decoded without asking: each takes some hundred µs.
_UNASKED: Final = 32


def keep_going() -> None:
    """A `GoOn` for work that is always wanted."""


def decode_together(
    values: Iterable[bytes], go_on: GoOn = keep_going
) -> tuple[list[pa.RecordBatch], dict[int, WireError]]:
    """The spans of records with columns, in another order, and why records cannot be read, by their numbers."""
    batches: list[pa.RecordBatch] = []
    problems: dict[int, WireError] = {}
    alike: dict[bytes, list[tuple[int, pa.RecordBatch]]] = {}
    rows: dict[bytes, int] = {}
    for number, value in enumerate(values):
        if number % _UNASKED == 0:
            go_on()
        try:
            schema, batch = record.decode_typed(value)
        except WireError as err:
            problems[number] = as_value(err)
            continue
        alike.setdefault(schema, []).append((number, batch))
        rows[schema] = rows.get(schema, 0) + len(batch)
        if rows[schema] >= _JOINED_ROWS:
            batches += _checked(alike.pop(schema), problems)
            rows[schema] = 0
    for some in alike.values():
        go_on()
        batches += _checked(some, problems)
    return batches, problems


def _checked(some: Sequence[tuple[int, pa.RecordBatch]], problems: dict[int, WireError]) -> list[pa.RecordBatch]:
    """The batches joined, without those that have nulls where none may be: these become problems."""
    batches = joined([batch for _, batch in some])
    try:
        for batch in batches:
            check_nulls(batch)
    except WireError:
        good = []
        for number, batch in some:
            try:
                check_nulls(batch)
            except WireError as err:
                problems[number] = as_value(err)
            else:
                good.append(batch)
        return joined(good) if good else []
    return batches


def joined(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The batches as one, or unchanged if one cannot hold them."""
    if len(batches) == 1:
        return batches
    try:
        return list(pa.Table.from_batches(batches).combine_chunks().to_batches())
    except pa.ArrowException:  # more distinct values than the batches' small dictionary indices can number
        return batches
