"""One source during one query: its columns by TraceQL's names, what was read, and where its traces lie."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from query import memory
from query.language import ast
from query.language.fields import field_columns
from query.scan.arrays import Mask, Rows, compact, has_value, name_of, taken, to_numpy
from query.scan.source import (
    AheadReading,
    DerivedCache,
    Describing,
    Estimating,
    Source,
    TraceCounting,
    TraceFiltering,
    TraceRange,
    TraceTiming,
    Unsorted,
    is_a,
)
from query.scan.trace_times import TraceTimes
from tables.columns.trace_facts import TracePeriod, elapsed_ns
from tables.columns.trace_index import TraceIndex
from tables.schema import ATTRIBUTE_TYPES

# Columns in which "" is read where nothing is stored: a resource without service.name, a trace without a root.
SERVICE_NAME: Final = "resource.service.name"
NEVER_NULL: Final = frozenset({SERVICE_NAME, "root_name", "root_service"})
DURATION: Final = "duration_ns"
_TIMES: Final = ("trace_start_ns", "trace_duration_ns")
_TIMES_NAME: Final = "times"
_SOME: Final = 8  # one row in so many is few
_VALUE_BYTES: Final = 16  # of a source that does not say it
# Of so many traces a filter, of which each passes with some chance, hardly ever says that the source has none.
_FILTERED_IDS_MAX: Final = 100


class Reader:
    """Reads each column of a source once per evaluation; `bytes_read` counts what came."""

    def __init__(self, source: Source) -> None:
        self.source = source
        # Asked once: it takes 10 µs.
        self.derived_cache = cast("DerivedCache", source) if is_a(DerivedCache, type(source)) else None
        self._estimating = cast("Estimating", source) if is_a(Estimating, type(source)) else None
        self._filtering = cast("TraceFiltering", source) if is_a(TraceFiltering, type(source)) else None
        self._ahead = cast("AheadReading", source) if is_a(AheadReading, type(source)) else None
        self._id_range: Any = None
        self._memory, self._held_bytes = memory.current(), 0
        self.owned_bytes = 0  # of the source, where it is this query's own
        self._read_once = source.read if self.derived_cache is None else self.derived_cache.read_once
        self._unsorted = cast("Unsorted", source) if is_a(Unsorted, type(source)) else None
        self._rows = None if self._unsorted is not None else source.rows
        self.bytes_read, self.was_cold = 0, False  # whether a column had to be decoded
        self.read_columns: dict[str, None] = {}
        self._present: frozenset[str] | None = None
        self._timed: bool | None = None
        self._traces: TraceIndex | None = None
        self._columns: dict[str, Any] = {}
        self._made: dict[str, Any] = {}

    @property
    def rows(self) -> int:
        """The number of rows. Sources that can show them unsorted sort them now."""
        if self._rows is None:
            self._rows = self.source.rows
        return self._rows

    @property
    def rows_max(self) -> int:
        """The number of rows, or a few more, without sorting them."""
        if self._rows is not None or self._unsorted is None:
            return self.rows
        return self._unsorted.rows_max()

    def load(self, *, sorts: bool) -> None:
        """Loads now what is loaded as a whole: while the next source begins with that."""
        if self._unsorted is not None:
            _ = self.rows if sorts else self.stored(DURATION)

    def before_sorting(self) -> "Reader | None":
        """The rows in another order, for less than it takes to sort them; None: they are in order already. Whoever has
        looked at them calls `done_before_sorting`.
        """
        found = None if self._unsorted is None or self._rows is not None else self._unsorted.unsorted()
        return None if found is None else Reader(found)

    def done_before_sorting(self, unsorted: "Reader") -> None:
        """Counts what was read of the rows before they are sorted."""
        self.bytes_read += unsorted.bytes_read
        self.read_columns |= unsorted.read_columns
        unsorted.forget()

    def sorted(self, mask: Mask) -> Mask:
        """The rows for which a mask of the unsorted ones holds. Sorts the source."""
        assert self._unsorted is not None
        return mask[self._unsorted.order()]

    def stored(self, column: str) -> bool:
        """Whether the source has the column."""
        if self._present is None:
            self._present = self.source.columns
        return column in self._present

    def has(self, column: str) -> bool:
        """Whether a row has a value in the column, be it one that is read where none is stored."""
        return column in NEVER_NULL or self.stored(column)

    def column(self, column: str) -> Any | None:
        """The whole column as pyarrow Array; None: no row has a value.

        Of the columns of NEVER_NULL "" is read where nothing is stored; duration_ns is how long spans took.
        """
        if column not in self._columns:
            if not self.has(column):
                return None
            found = self._held(column) if self.stored(column) else None
            if column in NEVER_NULL:
                found = self._filled(column, found)
            elif column == DURATION and not self._every_span_is_timed():
                found = pa.array(elapsed_ns(self.numbers("start_ns"), to_numpy(found)))
            self._columns[column] = found
        return self._columns[column]

    def _filled(self, column: str, array: Any) -> Any:
        """With "" for null, unless the attribute has a value of another type there."""
        if array is not None and not array.null_count:
            return array
        if array is None:
            array = pa.DictionaryArray.from_arrays(pa.nulls(self.rows, pa.int32()), pa.array([], pa.string()))
        self.hold(4 * self.rows, f"column {column} of {self.rows} spans")
        absent = to_numpy(array.is_null())
        for word in ATTRIBUTE_TYPES if column == SERVICE_NAME else ():
            other = f"{column}:{word}"
            if self.stored(other) and (typed := self.column(other)) is not None:
                absent &= to_numpy(typed.is_null())
        # Each value once: who looks at the dictionary alone would find "" twice.
        dictionary, empty = array.dictionary, pc.index(array.dictionary, "").as_py()
        if empty < 0:
            dictionary, empty = pa.concat_arrays([dictionary, pa.array([""])]), len(dictionary)
        codes = np.where(absent, empty, to_numpy(array.indices.fill_null(-1)))
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=codes < 0), dictionary)

    def _every_span_is_timed(self) -> bool:
        """Whether the bounds say that the durations which are stored are those that spans took."""
        if self._timed is None:
            starts, durations = self.source.bounds("start_ns"), self.source.bounds(DURATION)
            if starts is None or durations is None:
                self._timed = False
            else:
                self._timed = starts[0] > 0 and durations[0] >= 0
        return self._timed

    def numbers(self, column: str) -> npt.NDArray[Any]:
        """A column without nulls, of numbers, as numpy."""
        found = self.column(column)
        assert found is not None
        return to_numpy(found)

    def derive(self, name: str, make: Callable[[], Any]) -> Any:
        """What is made of columns and asked for several times during one evaluation."""
        if name not in self._made:
            self._made[name] = made = make()
            self.hold(getattr(made, "nbytes", 0), name)
        return self._made[name]

    def read_rows(self, columns: Sequence[str], rows: Rows) -> dict[str, Any]:
        """Some rows of the columns that the source has. Reads from the first to the last of the rows."""
        return self._at(columns, rows, self.source.read)

    def _at(
        self, columns: Sequence[str], rows: Rows, read_rows: Callable[..., Any], pick: Callable[..., Any] = taken
    ) -> dict[str, Any]:
        present = [column for column in dict.fromkeys(columns) if self.stored(column)]
        if not present or not len(rows):
            return {}
        if DURATION in present and not self._every_span_is_timed():
            present = list(dict.fromkeys([*present, "start_ns"]))
        first, end = int(rows.min()), int(rows.max()) + 1
        asked = None if (first, end) == (0, self.rows) else (first, end)
        with self._memory.scratch(self.decoded_bytes(present, asked), f"{len(present)} columns of {end - first} spans"):
            read = self._counted(read_rows(present, asked))
            wanted = rows - first
            found = {column: pick(read[column], wanted) for column in present}
        if DURATION in found and "start_ns" in found and not self._every_span_is_timed():
            found[DURATION] = pa.array(elapsed_ns(to_numpy(found["start_ns"]), to_numpy(found[DURATION])))
        return found

    def read_whole(self, columns: Sequence[str]) -> dict[str, Any]:
        """Those of the columns that the source has, whole: for something that it keeps."""
        present = [column for column in columns if self.stored(column)]
        with self._memory.scratch(self.decoded_bytes(present), f"{len(present)} columns of {self.rows} spans"):
            return dict(self._counted(self._read_once(present)))

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """About how much memory reading these columns takes, which the source has."""
        if self._estimating is not None:
            return self._estimating.decoded_bytes(columns, rows)
        return len(columns) * _VALUE_BYTES * (self.rows if rows is None else rows[1] - rows[0])

    def hold(self, size: int, what: str) -> None:
        """Counts what is kept until `forget`. Raises: memory.MemoryExceeded"""
        self._memory.reserve(size, what)
        self._held_bytes += size

    def _held(self, column: str) -> Any:
        """A whole column, counted before it is read by its estimate, then by its size."""
        what = f"column {column[:100]} of {self.rows} spans"
        ready = None if self._estimating is None else self._estimating.ready_bytes(column)
        size = self.decoded_bytes([column]) if ready is None else ready
        self.was_cold |= ready is None
        self.hold(size, what)
        array = self.source.read([column])[column]
        self.read_columns[column] = None
        size_bytes: int = array.nbytes if ready is None else ready
        self.bytes_read += size_bytes
        if size_bytes != size:
            self.hold(size_bytes - size, what)
        return array

    def read_few_rows(self, columns: Sequence[str], rows: Rows) -> dict[str, Any]:
        """As `read_rows`, for few rows that the next query will ask for again."""
        source = self.derived_cache
        if source is None or len(rows) * _SOME > self.rows:
            return self.read_rows(columns, rows)
        name, found = name_of(rows), {}
        missing: dict[str, Any] = {}
        for column in dict.fromkeys(columns):
            if self.stored(column):
                # Columns are read together where several are not kept.
                def make(column: str = column) -> Any:
                    if column not in missing:
                        missing.update(self._at([c for c in columns if c not in found], rows, self._read_once))
                    return compact(missing[column])

                found[column] = source.keep(f"{column} {name}", make)
        return found

    def times(self) -> TraceTimes:
        """Start and end of each trace, as far as the source knows them. Where no span has a time these are int64's
        greatest number and its least.
        """

        def make() -> TraceTimes:
            first = self.traces().offsets[:-1]
            columns = self._at(_TIMES, first, self._read_once)
            return TraceTimes.of(*(to_numpy(columns[name]) for name in _TIMES))

        if self.derived_cache is not None:
            kept: TraceTimes = self.derived_cache.keep(_TIMES_NAME, make)
            return kept
        made: TraceTimes = self.derive(_TIMES_NAME, make)
        return made

    def begin_times(self) -> None:
        """Begins to read what `times` needs."""
        self.begin_kept(_TIMES_NAME, _TIMES)

    def traces(self) -> TraceIndex:
        if self._traces is None:
            self._traces = self.source.traces()
        return self._traces

    @property
    def knows_traces(self) -> bool:
        """Whether the trace ids were read."""
        return self._traces is not None

    def trace_period(self) -> TracePeriod | None:
        """When the traces lie, where that is known without reading anything and each of them has a time."""
        if not is_a(TraceTiming, type(self.source)):
            return None
        return cast("TraceTiming", self.source).trace_period()

    def begin_description(self) -> None:
        """Begins to read what `stored` and `bounds` need."""
        if is_a(Describing, type(self.source)):
            cast("Describing", self.source).begin_description()

    def begin_evaluation(self, columns: Collection[str], *, about_traces: bool) -> None:
        """Begins to read those of some columns that are here, and if there is one, what matching rows need besides."""
        if self._ahead is None:
            return
        if not columns:
            self.begin_description()
            return
        traces = about_traces and self._traces is None
        self._ahead.read_ahead({*columns, *(_TIMES if about_traces else ())}, traces=traces, if_any=columns)

    def trace_count(self) -> int:
        """How many traces there are."""
        if self._traces is None and isinstance(self.source, TraceCounting):
            return self.source.trace_count()
        return len(self.traces().ids)

    def begin_filter(self) -> None:
        """Begins to read what `lacks_traces` needs."""
        if self._filtering is not None and self._traces is None:
            self._filtering.begin_filter()

    def begin_lookup(self, ids: Any) -> None:
        """As `begin_filter`, if `lacks_traces` needs it for the same ids."""
        if 0 < len(self._within(ids)) <= _FILTERED_IDS_MAX:
            self.begin_filter()

    def lacks_traces(self, ids: Any) -> bool:
        """Whether the source is known to have none of some traces, without reading its own ids. In: ids, ascending"""
        if self._traces is not None:
            return False
        inside = self._within(ids)
        if not len(inside):
            return True
        if self._filtering is None or len(inside) > _FILTERED_IDS_MAX:
            return False
        mask = self._filtering.may_have(inside)
        return mask is not None and not mask.any()

    def _within(self, ids: Any) -> Any:
        """Those of some ids, ascending, that lie between the least and the greatest of the source."""
        if self._id_range is None:
            found = self.source.trace_id_range if isinstance(self.source, TraceRange) else None
            self._id_range = () if found is None else np.array(found, "S16")
        if not len(self._id_range):
            return ids
        least, greatest = self._id_range
        return ids[np.searchsorted(ids, least) : np.searchsorted(ids, greatest, side="right")]

    def read_ahead(self, like: "Reader") -> None:
        """Begins to read the columns that another reader has read, and the trace ids if it has."""
        self.begin(like.read_columns, traces=like.knows_traces)

    def begin(self, columns: Collection[str], *, traces: bool = False) -> None:
        """Begins to read columns, whole, and the trace ids."""
        if self._ahead is not None:
            self._ahead.read_ahead(columns, traces=traces and self._traces is None)

    def begin_kept(self, name: str, columns: Collection[str]) -> None:
        """As `begin`, unless what is made of the columns is kept under that name."""
        if self._ahead is not None and (self.derived_cache is None or self.derived_cache.kept(name) is None):
            self.begin(columns)

    def begin_few_rows(self, columns: Sequence[str], rows: Rows) -> None:
        """Begins to read what `read_few_rows` needs."""
        if self._ahead is not None:
            source, name = self.derived_cache, name_of(rows)
            if source is not None and len(rows) * _SOME <= self.rows:
                columns = [column for column in columns if source.kept(f"{column} {name}") is None]
            self.begin(columns)

    def bounds(self, column: str) -> tuple[int, int] | None:
        """No value of the column is less or greater; None where not known."""
        bounds = self.source.bounds(column)
        if column == DURATION and bounds is not None and not self._every_span_is_timed():
            return 0, max(bounds[1], 0)
        return bounds

    def has_field(self, field: ast.Field) -> bool:
        """Whether a column that may hold the field's values is here."""
        return any(self.has(column) for column, _ in field_columns(field))

    def read_passing(self, columns: Sequence[str], rows: Rows | None) -> dict[str, Any]:
        """Columns at some rows (None: at all), for one look at each: they push out nothing that is in use."""
        if rows is None:
            return self.read_whole(columns)
        return self._at(columns, rows, self._read_once)

    def with_values(self, columns: Sequence[str], rows: Rows) -> list[str]:
        """Those of the columns that have a value in one of some rows. As `read_passing`, but nothing is copied."""
        return [column for column, has in self._at(columns, rows, self._read_once, has_value).items() if has]

    def discard(self) -> None:
        """As `forget`, and rows that are nobody else's, of stitched traces, go, too. What was counted stays."""
        self.forget()
        if self.owned_bytes:
            self.traces()
            self._memory.release(self.owned_bytes)
            self.owned_bytes = 0
            self.source = self._read_once = self._estimating = cast("Any", None)

    def forget(self) -> None:
        """Lets the columns go; the source may keep its own cache."""
        self._columns.clear()
        self._made.clear()
        if self._held_bytes:
            self._memory.release(self._held_bytes)
            self._held_bytes = 0

    def _counted(self, read: Any) -> Any:
        self.bytes_read += sum(array.nbytes for array in read.values())
        self.read_columns |= dict.fromkeys(read)
        return read
