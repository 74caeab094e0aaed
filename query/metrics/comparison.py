"""`compare({ … })` over many sources: their attributes one after the other, some columns of one source at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query import memory
from query.engine.groups import NIL, encoded, group, groupable
from query.engine.spansets import evaluate
from query.errors import QueryCancelled
from query.language import ast, text
from query.language.fields import field_columns
from query.language.plan import MetricsPlan
from query.metrics.compare_function import COMPARED, NIL_COUNTED, selected
from query.metrics.intervals import Intervals
from query.metrics.observe import spans_in_range
from query.metrics.partials import Partial
from query.metrics.value_counts import VALUES_MAX, ValueCounts
from query.scan.arrays import Rows
from query.scan.profile import Profile
from query.scan.reader import SERVICE_NAME, Reader
from query.scan.source import Sparse
from query.scan.stitch import Piece, StitchedSource
from tables.columns.overflow import SparseColumns
from tables.schema import SCOPES, parse_attribute_column

_COLUMNS_AT_ONCE: Final = 12
# What counts for spans that lack an attribute.
_ABSENT: Final = {text.expression(field): NIL for field in NIL_COUNTED} | {
    text.expression(ast.Attribute("resource", "service.name")): ""
}
_CHILD_COUNT: Final = ast.Intrinsic("span:childCount")


@dataclass(frozen=True, slots=True, eq=False)
class _Spans:
    """Spans of a source. rows: None: all; cells: of each kind * intervals + interval"""

    rows: Rows | None
    cells: npt.NDArray[np.int64]


def compare_pieces(
    plan: MetricsPlan,
    pieces: Sequence[Piece],
    intervals: Intervals,
    cancelled: Callable[[], bool],
    profile: Profile,
    done: Callable[[Reader], None],
) -> Partial:
    """The cells of all sources. Whole traces are put together only for what asks for them: their spans' attributes are
    read where they rest.

    done: is told each piece that was worked on
    Raises: QueryCancelled, OSError, memory.MemoryExceeded
    """
    assert isinstance(plan.function, ast.Compare)
    counts = ValueCounts(intervals.count, plan.function.top_n)
    later: dict[Reader, list[_Spans]] = {}
    for piece in sorted(pieces, key=lambda piece: not piece.stitched):
        if cancelled():
            raise QueryCancelled
        reader, among = piece.open()
        with profile.source(reader):
            spans = spans_in_range(evaluate(plan.root, reader), among, reader, intervals)
            kind = spans.of(selected(plan.function, reader)).astype(np.int64)
            here = _Spans(spans.rows, kind * intervals.count + spans.interval)
            _count_intrinsics(counts, here, reader)
            if isinstance(reader.source, StitchedSource):
                for origin, rows, places in reader.source.origins(here.rows):
                    memory.reserve(16 * len(rows), "spans of traces that lie in several blocks")
                    later.setdefault(origin, []).append(_Spans(rows, here.cells[places]))
            else:
                # What it read until now was for the filter.
                reader.forget()
                _count_attributes(counts, [here, *later.pop(reader, ())], reader, cancelled)
        reader.discard()
        done(reader)
    for reader, parts in later.items():
        _count_attributes(counts, parts, reader, cancelled)
        reader.forget()
    return counts.partial()


def _count_intrinsics(counts: ValueCounts, spans: _Spans, reader: Reader) -> None:
    for name in COMPARED:
        field = ast.Intrinsic(name)
        if not len(spans.cells) or not (field == _CHILD_COUNT or reader.has_field(field)):
            continue
        groups = group(field, reader)
        codes = groups.codes if spans.rows is None else groups.codes[spans.rows]
        has = codes > 0
        used, found = np.unique(codes[has], return_inverse=True)
        # Of too many the texts do not matter.
        labels = pa.nulls(len(used)) if len(used) > VALUES_MAX else pa.array([groups.label(int(one)) for one in used])
        counts.add(text.expression(field), spans.cells[has], found, labels)


def _count_attributes(
    counts: ValueCounts, parts: Sequence[_Spans], reader: Reader, cancelled: Callable[[], bool]
) -> None:
    spans = _together(parts, reader.rows)
    if not len(spans.cells):
        return
    for label, found in _attribute_values(spans, reader, cancelled):
        absent = _ABSENT.get(label)
        # A span that has an attribute twice, with two types, counts once.
        taken = np.zeros(len(spans.cells), bool) if len(found) > 1 or absent is not None else None
        for places, array in found:
            codes, values = encoded(array)
            has = codes >= 0
            if taken is not None:
                has &= ~taken[places]
                taken[places[has]] = True
            counts.add(label, spans.cells[places[has]], codes[has].astype(np.int64), values)
        if absent is not None and taken is not None and not taken.all():
            lacking = spans.cells[~taken]
            counts.add(label, lacking, np.zeros(len(lacking), np.int64), pa.array([absent]))


def _together(parts: Sequence[_Spans], rows: int) -> _Spans:
    filled = [part for part in parts if len(part.cells)]
    if len(filled) == 1:
        return filled[0]
    every = np.arange(rows)
    numbers = [every if part.rows is None else part.rows for part in filled] or [every[:0]]
    cells = [part.cells for part in filled] or [every[:0]]
    order = np.argsort(np.concatenate(numbers), kind="stable")
    return _Spans(np.concatenate(numbers)[order], np.concatenate(cells)[order])


def _attribute_values(
    spans: _Spans, reader: Reader, cancelled: Callable[[], bool]
) -> Iterator[tuple[str, list[tuple[Rows, Any]]]]:
    """Each attribute's label, and for each type of its values: the places of spans, and the values of those."""
    every = np.arange(len(spans.cells))
    source = reader.source
    hidden: frozenset[str] = source.sparse_columns() if isinstance(source, Sparse) else frozenset()
    sparse: SparseColumns | None = None
    place = every
    if hidden and isinstance(source, Sparse):
        reader.hold(2 * reader.decoded_bytes([next(iter(hidden))]), "attributes that few spans have")
        sparse = source.sparse()
        if spans.rows is not None:
            place = np.full(reader.rows, -1, np.int64)
            place[spans.rows] = every
    fields = _fields(reader)
    for first in range(0, len(fields), _COLUMNS_AT_ONCE):
        if cancelled():
            raise QueryCancelled
        some = fields[first : first + _COLUMNS_AT_ONCE]
        own = [column for _, columns in some for column, _ in columns if column not in hidden]
        arrays = reader.passing(own, spans.rows)
        for label, columns in some:
            found: list[tuple[Rows, Any]] = []
            for column, word in columns:
                if column in arrays:
                    found += [(every, part) for part in groupable(arrays[column], word)]
                elif sparse is not None and column in sparse.names:
                    rows, values = sparse.column(column)
                    places = place[rows]
                    places, values = (places, values) if spans.rows is None else _there(places, values)
                    found += [(places, part) for part in groupable(values, word)]
            yield label, found


def _there(places: Rows, values: Any) -> tuple[Rows, Any]:
    keep = places >= 0
    return (places, values) if keep.all() else (places[keep], values.filter(pa.array(keep)))


def _fields(reader: Reader) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each attribute's label, and its columns, with the types of their values, in the order in which they are asked."""
    parsed = (parse_attribute_column(column) for column in sorted(reader.source.columns))
    found = [(a.scope, a.key) for a in parsed if a is not None and a.scope in SCOPES and a.type != "bytes"]
    always = [(field.scope or "", field.key) for field in sorted(NIL_COUNTED, key=text.expression)]
    labelled = []
    for scope, key in dict.fromkeys([*found, *always, ("resource", SERVICE_NAME.removeprefix("resource."))]):
        field = ast.Attribute(scope, key)
        columns = [(column, word) for column, word in field_columns(field) if word != "bytes" and reader.stored(column)]
        labelled.append((text.expression(field), columns))
    return labelled
