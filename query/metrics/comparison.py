"""`compare({ … })` over many sources: their attributes one after the other, some columns of one source at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from query import memory
from query.engine.groups import NIL, SCALARS, encoded, group, groupable
from query.engine.spansets import evaluate
from query.language import ast, text
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
from tables.schema import ATTRIBUTE_TYPES, parse_attribute_column

_COLUMNS_AT_ONCE: Final = 12
_ENTRIES_AT_ONCE: Final = 16_384
# An attribute's label, and its columns, with the types of their values.
_Field = tuple[str, list[tuple[str, str]]]
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
    rare = _RareAttributes(spans, reader)
    others: list[_Field] = []
    many: dict[str, list[_Field]] = {}
    for label, columns in _fields(reader):
        # What is counted once for a span, or where it is absent, is looked at by itself.
        alone = len(columns) != 1 or label in _ABSENT or not rare.has(*columns[0])
        (others if alone else many.setdefault(columns[0][1], [])).append((label, columns))
    for label, found in _attribute_values(others, spans, rare, reader, check_cancelled):
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
    for word, fields in many.items():
        for some in rare.groups(fields):
            check_cancelled()
            owners, places, array = rare.values_of([columns[0][0] for _, columns in some], word)
            codes, values = encoded(array)
            has = codes >= 0
            labels = [label for label, _ in some]
            counts.add_attributes(labels, owners[has], spans.cells[places[has]], codes[has].astype(np.int64), values)


def _together(parts: Sequence[_Spans], rows: int) -> _Spans:
    filled = [part for part in parts if len(part.cells)]
    if len(filled) == 1:
        return filled[0]
    every = np.arange(rows)
    numbers = [every if part.rows is None else part.rows for part in filled] or [every[:0]]
    cells = [part.cells for part in filled] or [every[:0]]
    order = np.argsort(np.concatenate(numbers), kind="stable")
    return _Spans(np.concatenate(numbers)[order], np.concatenate(cells)[order])


class _RareAttributes:
    """The attributes of a source that few of its spans have, among the spans that are compared."""

    def __init__(self, spans: _Spans, reader: Reader) -> None:
        source = reader.source
        self._sparse: SparseColumns | None = None
        self._all = spans.rows is None
        self._place = every = np.arange(len(spans.cells))
        hidden: frozenset[str] = source.sparse_columns() if isinstance(source, Sparse) else frozenset()
        if hidden and isinstance(source, Sparse):
            reader.hold(2 * reader.decoded_bytes([next(iter(hidden))]), "attributes that few spans have")
            self._sparse = source.sparse()
            if spans.rows is not None:
                self._place = np.full(reader.rows, -1, np.int64)
                self._place[spans.rows] = every
        self.columns = hidden

    def has(self, column: str, word: str) -> bool:
        """Whether it is one of those that `values_of` gives."""
        return column in self.columns and word in SCALARS and self._sparse is not None

    def groups(self, fields: Sequence[_Field]) -> Iterator[Sequence[_Field]]:
        """The fields, some at a time: each group has a cost of its own, and memory for its values."""
        assert self._sparse is not None
        group, size = list[_Field](), 0
        for one in fields:
            group.append(one)
            size += self._sparse.size(one[1][0][0])
            if size >= _ENTRIES_AT_ONCE:
                yield group
                group, size = [], 0
        if group:
            yield group

    def values_of(self, columns: Sequence[str], word: str) -> tuple[Rows, Rows, Any]:
        """Of each value of some columns: which column's it is, the place of its span, and the value."""
        assert self._sparse is not None
        owners, rows, values = self._sparse.columns(columns, word)
        places = self._place[rows]
        if self._all:
            return owners, places, values
        here = places >= 0
        return owners[here], places[here], values.filter(pa.array(here))

    def values(self, column: str) -> tuple[Rows, Any] | None:
        """The places of the spans that have a column, and the values of those; None: it is not one of these."""
        if self._sparse is None or column not in self._sparse.names:
            return None
        rows, values = self._sparse.column(column)
        places = self._place[rows]
        return (places, values) if self._all else _there(places, values)


def _attribute_values(
    fields: Sequence[_Field],
    spans: _Spans,
    rare: _RareAttributes,
    reader: Reader,
    check_cancelled: Callable[[], None],
) -> Iterator[tuple[str, list[tuple[Rows, Any]]]]:
    """Each attribute's label, and for each type of its values: the places of spans, and the values of those."""
    every = np.arange(len(spans.cells))
    for first in range(0, len(fields), _COLUMNS_AT_ONCE):
        check_cancelled()
        some = fields[first : first + _COLUMNS_AT_ONCE]
        own = [column for _, columns in some for column, _ in columns if column not in rare.columns]
        arrays = reader.read_passing(own, spans.rows)
        for label, columns in some:
            found: list[tuple[Rows, Any]] = []
            for column, word in columns:
                if column in arrays:
                    found += [(every, part) for part in groupable(arrays[column], word)]
                elif (there := rare.values(column)) is not None:
                    found += [(there[0], part) for part in groupable(there[1], word)]
            yield label, found


def _there(places: Rows, values: Any) -> tuple[Rows, Any]:
    keep = places >= 0
    return (places, values) if keep.all() else (places[keep], values.filter(pa.array(keep)))


def _fields(reader: Reader) -> list[_Field]:
    """Each attribute's label, and its columns, with the types of their values, in the order in which they are asked."""
    typed: dict[tuple[str, str], dict[str, str]] = {}
    for column in sorted(reader.source.columns):
        found = parse_attribute_column(column)
        if found is not None and found.type != "bytes":
            typed.setdefault((found.scope, found.key), {})[found.type] = column
    always = [(field.scope or "", field.key) for field in sorted(NIL_COUNTED, key=text.expression)]
    labelled = []
    for scope, key in dict.fromkeys([*typed, *always, ("resource", SERVICE_NAME.removeprefix("resource."))]):
        of = typed.get((scope, key), {})
        words = of if len(of) < 2 else [word for word in ATTRIBUTE_TYPES if word in of]  # it is one in nearly all
        columns = [(of[word], word) for word in words]
        labelled.append((text.expression(ast.Attribute(scope, key)), columns))
    return labelled
