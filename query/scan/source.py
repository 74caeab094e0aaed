"""What the evaluator reads from: rows of spans, wherever they rest."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from tables.columns.overflow import SparseColumns
from tables.columns.trace_index import TraceIndex
from tables.columns.types import Int64s


class Source(Protocol):
    """A row group of a segment or block, or a part of the live store's head: one shape for all of them.

    Rows are sorted by trace_id, then start_ns. A trace may have further spans in other sources. Columns and their
    types are those of `tables.schema`. Sources are immutable and may be read by several threads at once.
    """

    @property
    def rows(self) -> int:
        """The number of spans in the source."""
        ...

    @property
    def columns(self) -> frozenset[str]:
        """The columns that have at least one value here; asking `read` for another is an error (KeyError)."""
        ...

    def bounds(self, column: str) -> tuple[int, int] | None:
        """Least and greatest value of an integer column, without reading it; None where not known."""
        ...

    def traces(self) -> TraceIndex:
        """Where each trace lies. Made once and kept."""
        ...

    def read(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """The columns as pyarrow Arrays of equal length: all rows, or the half-open range `rows`.

        Strings come as DictionaryArray (int32 indices) whose dictionary may hold values that no row has;
        everything else as the plain type. Raises OSError where the bytes cannot be had.
        """
        ...


@runtime_checkable
class TraceCounting(Protocol):
    """What a source may do besides: say how many traces it has without reading them."""

    def trace_count(self) -> int:
        """As many as `traces` gives."""
        ...


@runtime_checkable
class TraceRange(Protocol):
    """What a source may do besides: say between which trace ids all of its own lie, without reading them."""

    @property
    def trace_id_range(self) -> tuple[bytes, bytes] | None:
        """The least and the greatest id, 16 bytes each; None: not known."""
        ...


@runtime_checkable
class TraceFiltering(Protocol):
    """What a source may do besides: tell of some traces that it does not have them, for less than `traces` takes."""

    def begin_filter(self) -> None:
        """Begins to get in the background what `may_have` needs, as far as that waits for something."""
        ...

    def may_have(self, ids: Any) -> Any | None:
        """Which of some traces (ids of dtype S16) the source may have, as a mask; None: `traces` says it as cheaply."""
        ...


@runtime_checkable
class AheadReading(Protocol):
    """What a source may do besides: begin to read in the background what a query will ask it for."""

    def read_ahead(self, columns: Collection[str], *, traces: bool) -> None:
        """Begins to read those of the columns that it has, whole; and, with `traces`, what that needs. Errors come
        where something is asked for.
        """
        ...


@runtime_checkable
class RowsAhead(Protocol):
    """What a source may do besides: begin to get in the background what `rows` needs."""

    def begin_rows(self) -> None:
        """Begins, where that waits for something. Errors come where something is asked for."""
        ...


@runtime_checkable
class Estimating(Protocol):
    """What a source may do besides: say how much memory a `read` takes before it is done."""

    def decoded_bytes(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> int:
        """About what `read` of the same columns and rows allocates: rather too much than too little."""
        ...

    def ready_bytes(self, column: str) -> int | None:
        """The size of the whole column where it is decoded already; None: not known. Cheap to ask."""
        ...


@runtime_checkable
class KeyListing(Protocol):
    """What a source may do besides: give the attribute keys of events or links without their values."""

    def entry_count(self, column: str) -> int:
        """About how many keys `entry_keys` gives."""
        ...

    def entry_keys(self, column: str) -> Any:
        """The keys in a list column of events or links, as DictionaryArray; each as often as it comes."""
        ...


@runtime_checkable
class Sparse(Protocol):
    """What a source may do besides: give attributes that few rows have as (row, value) pairs, without a column of all
    rows for each.
    """

    def sparse_columns(self) -> frozenset[str]:
        """The columns that `sparse` gives. None of them is cheap to `read`."""
        ...

    def sparse(self) -> SparseColumns:
        """The values of all columns that `sparse_columns` names."""
        ...


@runtime_checkable
class DerivedCache(Protocol):
    """What a source may do besides: keep between queries what was derived from its columns."""

    def content_key(self) -> str:
        """Names the content, which never changes. Two sources have one name only if their rows are the same."""
        ...

    def kept(self, name: str) -> Any:
        """What `keep` has under that name; None: it is not there (any more)."""
        ...

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """What was derived under that name, which has `nbytes`; `make` derives it if it is not there (any more)."""
        ...

    def read_once(self, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Mapping[str, Any]:
        """As `read`, for making something to `keep`: the columns themselves are kept only where there is room."""
        ...


@runtime_checkable
class ValuedReading(Protocol):
    """What a source may do besides: read all columns of few rows without those that none of the rows has a value in."""

    def valued_bytes(self) -> int:
        """About how much memory `read_valued` takes at once, besides what it gives."""
        ...

    def read_valued(self, rows: Int64s) -> Mapping[str, Any]:
        """Every column but the facts of traces in which one of some rows has a value, at those rows; attributes that
        have no column of their own in the column `overflow`.
        """
        ...
