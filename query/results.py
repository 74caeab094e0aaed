"""What a search answers, before it becomes JSON or protobuf.

What an answer has tens of thousands of is a NamedTuple: made three times faster than a frozen dataclass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

from tables.turns import drop

AttributeValue = str | int | float | bool | Sequence["AttributeValue"]
# Key and value. A key may come twice: `.x` is shown as x, be it the span's, the resource's, or both.
Attributes = Sequence[tuple[str, AttributeValue]]


class SpanMatch(NamedTuple):
    """One span that a query matched. Attributes are those that the query names, under their plain keys."""

    span_id: bytes  # 8
    name: str
    start_ns: int
    duration_ns: int
    attributes: Attributes


class SpanSet(NamedTuple):
    """Matched spans of a trace: `matched` counts them all, `spans` holds the first of them by start.

    attributes: of groups and aggregates: `by(name)`, `count()`
    """

    spans: Sequence[SpanMatch]
    matched: int
    attributes: Attributes = ()


class ServiceStats(NamedTuple):
    """How many spans of the whole trace a service has, and how many of them failed."""

    span_count: int
    error_count: int


class TraceMatch(NamedTuple):
    """One trace of a search's answer. Start, duration, root and stats are the whole trace's.

    span_sets: one, or with by() one per group, in the order of their first spans
    """

    trace_id: bytes  # 16
    root_service: str | None  # None: no root span received (yet)
    root_name: str | None
    start_ns: int
    duration_ns: int
    span_sets: Sequence[SpanSet]
    service_stats: Mapping[str, ServiceStats]


@dataclass(frozen=True, slots=True)
class Inspected:
    """How much work an answer took. left: sources that are still to be looked at, of an answer that is not the last"""

    traces: int = 0
    spans: int = 0
    bytes: int = 0
    sources: int = 0
    left: int = 0

    def __add__(self, other: "Inspected") -> "Inspected":
        """Adds the counts of two scans."""
        return Inspected(
            self.traces + other.traces,
            self.spans + other.spans,
            self.bytes + other.bytes,
            self.sources + other.sources,
            self.left + other.left,
        )


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Newest traces first: by start, then by id; or in the order that was asked.

    total: how many traces match in all, if that was asked; next_cursor: of the next page, if there is one
    """

    traces: Sequence[TraceMatch]
    inspected: Inspected
    total: int | None = None
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One span that a sample counts."""

    trace_id: bytes  # 16
    timestamp_ns: int  # its start
    value: float  # its measured value; where spans are only counted the sample's


class Samples(Sequence[tuple[int, float]]):
    """(timestamp in ns, value) of a series, ascending. In two arrays: as objects they would take ten times more."""

    __slots__ = ("_times_ns", "_values")

    def __init__(self, times_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> None:
        self._times_ns, self._values = times_ns, values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, at: int) -> tuple[int, float]: ...
    @overload
    def __getitem__(self, at: slice) -> "Samples": ...
    def __getitem__(self, at: int | slice) -> "tuple[int, float] | Samples":
        if isinstance(at, slice):
            return Samples(self._times_ns[at], self._values[at])
        return int(self._times_ns[at]), float(self._values[at])

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return zip(self._times_ns.tolist(), self._values.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list's

    def __repr__(self) -> str:
        return repr(list(self))


@dataclass(frozen=True, slots=True)
class Series:
    """labels: values as typed as the spans' own. samples: (timestamp in ns, value), ascending, none without a value."""

    labels: Attributes
    samples: Sequence[tuple[int, float]]
    exemplars: Sequence[Exemplar] = ()


@dataclass(frozen=True, slots=True)
class MetricsResult:
    """In the order of labels. An instant query's series have one sample each, at the end of its range."""

    series: Sequence[Series]
    inspected: Inspected

    def drop(self) -> None:
        """Forgets the series, some at a time: a hundred thousand that go at once hold up all threads."""
        if isinstance(self.series, list):
            drop(self.series)
