"""What the evaluator reads from: rows of spans, wherever they rest."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from tables.columns.overflow import SparseColumns
from tables.columns.trace_facts import TracePeriod
from tables.columns.trace_index import TraceIndex
from tables.columns.types import Int64s, UInt64s


@lru_cache(maxsize=64)
def is_a(protocol: type, source: type) -> bool:
    """Whether sources of this class do what the protocol says. Python looks at each of its methods every time."""
    return issubclass(source, protocol)


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
class TraceTiming(Protocol):
    """What a source may do besides: say when its traces lie, for less than `bounds` takes."""

    def trace_period(self) -> TracePeriod | None:
        """None: not known, or one of the traces has no time. Nothing is read."""
        ...


@runtime_checkable
class Describing(Protocol):
    """What a source may do besides: begin to get in the background what `columns` and `bounds` need."""

    def begin_description(self) -> None:
        """Begins, where that waits for something. Errors come where something is asked for."""
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

    def read_ahead(self, columns: Collection[str], *, traces: bool, if_any: Collection[str] = ()) -> None:
        """Begins to read those of the columns that it has, whole; and, with `traces`, what that needs. Errors come
        where something is asked for. if_any: nothing, unless it has one of these; (): in any case
        """
        ...


@runtime_checkable
class RowsAhead(Protocol):
    """What a source may do besides: begin to get in the background what `columns` and `rows` need."""

    def begin_rows(self, *, sorts: bool) -> None:
        """Begins, where that waits for something. sorts: whether `rows` will be asked for. Errors come where something
        is.
        """
        ...


@runtime_checkable
class Unsorted(Protocol):
    """What a source may do besides: show its rows before they are sorted, for less than it takes to sort them."""

    def rows_max(self) -> int:
        """The number of rows, or a few more; 0 only where there are none. `rows` may take to sort them."""
        ...

    def unsorted(self) -> "Source | None":
        """The rows in another order, and those that a client sent twice; without traces, and columns that are facts of
        them. None: they are sorted already
        """
        ...

    def order(self) -> Int64s:
        """For each row of the source its number among those that `unsorted` gives."""
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
class RowDigesting(Protocol):
    """What a source may do besides: say of rows what a client sent, in a number for each."""

    def digest_bytes(self) -> int:
        """About how much memory `row_digests` takes at once."""
        ...

    def row_digests(self, rows: Int64s) -> UInt64s:
        """A digest of each of some rows, as of `tables.columns.row_digests`."""
        ...
