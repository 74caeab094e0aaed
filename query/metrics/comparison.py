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
from query.language import ast, text
from query.language.fields import field_columns
from query.language.plan import MetricsPlan
from query.metrics.compare_function import COMPARED, NIL_COUNTED, selected
from query.metrics.intervals import Intervals
from query.metrics.observe import spans_in_range
from query.metrics.partials import Partial
from query.metrics.value_counts import VALUES_MAX, ValueCounts
from query.results import MetricsResult
from query.scan.arrays import Mask, Rows
from query.scan.pieces import Piece
from query.scan.progress import Progress
from query.scan.reader import SERVICE_NAME, Reader
from query.scan.scan import Scan, stitched_first
from query.scan.source import Sparse
from query.scan.stitch import StitchedSource
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


class Comparing:
    """Fold: the cells of compare() over all pieces. Whole traces are stitched only for what asks for them: their spans'
    attributes are read where they rest, of each source once, so stitched pieces come first.
    """

    def __init__(self, plan: MetricsPlan, intervals: Intervals, scan: Scan) -> None:
        assert isinstance(plan.function, ast.Compare)
        self._plan, self._function, self._intervals, self._scan = plan, plan.function, intervals, scan
        self._counts = ValueCounts(intervals.count, plan.function.top_n)
        self._later: dict[Reader, list[_Spans]] = {}
        self._progress: Progress | None = None

    def run(self, progress: Progress | None, *, keeps_all: bool) -> Partial:
        """The cells of all pieces. keeps_all: of every value, not only of the most frequent ones that are answered

        Raises: QueryCancelled, OSError, memory.MemoryExceeded
        """
        self._progress = progress
        self._scan.run(self, stitched_first)
        for reader, parts in self._later.items():
            self._count_attributes(parts, reader)
            reader.forget()
        return self._counts.partial(None if keeps_all else self._function.top_n)

    def add_piece(self, reader: Reader, among: Mask | None) -> bool:
        spans = spans_in_range(evaluate(self._plan.root, reader), among, reader, self._intervals)
        kind = spans.take(selected(self._function, reader)).astype(np.int64)
        here = _Spans(spans.rows, kind * self._intervals.count + spans.interval)
        _count_intrinsics(self._counts, here, reader)
        if isinstance(reader.source, StitchedSource):
            for origin, rows, places in reader.source.origins(here.rows):
                memory.reserve(16 * len(rows), "spans of traces that lie in several blocks")
                self._later.setdefault(origin, []).append(_Spans(rows, here.cells[places]))
        else:
            # What it read until now was for the filter.
            reader.forget()
            self._count_attributes([here, *self._later.pop(reader, ())], reader)
        return False

    def ends_before(self, _piece: Piece, left: int) -> bool:
        if self._progress is not None and self._progress.due():
            self._progress.tell(MetricsResult((), self._scan.inspected(left)))
        return False

    def may_need(self, _piece: Piece) -> bool:
        return True

    def _count_attributes(self, parts: Sequence[_Spans], reader: Reader) -> None:
        _count_attributes(self._counts, parts, reader, self._scan.check_cancelled)


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
        counts.add_spans(text.expression(field), spans.cells[has], found, labels)


def _count_attributes(
    counts: ValueCounts, parts: Sequence[_Spans], reader: Reader, check_cancelled: Callable[[], None]
) -> None:
    spans = _together(parts, reader.rows)
    if not len(spans.cells):
        return
    for label, found in _attribute_values(spans, reader, check_cancelled):
        absent = _ABSENT.get(label)
        # A span that has an attribute twice, with two types, counts once.
        taken = np.zeros(len(spans.cells), bool) if len(found) > 1 or absent is not None else None
        for places, array in found:
            codes, values = encoded(array)
            has = codes >= 0
            if taken is not None:
                has &= ~taken[places]
                taken[places[has]] = True
            counts.add_spans(label, spans.cells[places[has]], codes[has].astype(np.int64), values)
        if absent is not None and taken is not None and not taken.all():
            missing_in_range = spans.cells[~taken]
            counts.add_spans(label, missing_in_range, np.zeros(len(missing_in_range), np.int64), pa.array([absent]))


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
    spans: _Spans, reader: Reader, check_cancelled: Callable[[], None]
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
        check_cancelled()
        some = fields[first : first + _COLUMNS_AT_ONCE]
        own = [column for _, columns in some for column, _ in columns if column not in hidden]
        arrays = reader.read_passing(own, spans.rows)
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
