"""The time range of a question, and which sources may hold an answer to it. Their bounds decide: nothing is read."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from query.scan.reader import Reader


class Window(Protocol):
    """The time range of a question.

    about_traces: it concerns whole traces, so that a source outside of it may hold a part of a trace inside
    """

    about_traces: ClassVar[bool]

    def may_hold(self, reader: Reader) -> bool:
        """Whether the source may hold something of the range, as far as the bounds of its columns say."""
        ...


@dataclass(frozen=True, slots=True)
class TraceWindow:
    """The traces whose [start, end] overlaps [start_ns, end_ns), in ns since 1970. None: no limit"""

    start_ns: int | None = None
    end_ns: int | None = None
    about_traces: ClassVar[bool] = True

    def may_hold(self, reader: Reader) -> bool:
        """Whether a trace of the source, as far as the source knows it, may overlap the window."""
        if self.start_ns is None and self.end_ns is None:
            return True
        if (period := reader.trace_period()) is not None:
            begun = self.end_ns is None or period.first_ns < self.end_ns
            return begun and (self.start_ns is None or period.end_ns >= self.start_ns)
        starts, durations = reader.bounds("trace_start_ns"), reader.bounds("trace_duration_ns")
        if starts is not None and self.end_ns is not None and starts[0] >= self.end_ns:
            return False
        if starts is not None and durations is not None and self.start_ns is not None:
            return starts[1] + durations[1] >= self.start_ns
        return True


@dataclass(frozen=True, slots=True)
class SpanWindow:
    """The spans whose [start, end] overlaps [start_ns, end_ns], in ns since 1970. None: no limit"""

    start_ns: int | None = None
    end_ns: int | None = None
    about_traces: ClassVar[bool] = False

    def may_hold(self, reader: Reader) -> bool:
        """Whether a span of the source may overlap the window."""
        if (self.start_ns, self.end_ns) == (None, None) or (starts := reader.bounds("start_ns")) is None:
            return True
        if self.end_ns is not None and starts[0] > self.end_ns:
            return False
        if self.start_ns is None or starts[1] >= self.start_ns:
            return True
        durations = reader.bounds("duration_ns")
        return durations is None or starts[1] + max(durations[1], 0) >= self.start_ns


@dataclass(frozen=True, slots=True)
class SpanStarts:
    """The spans that start in (after_ns, until_ns], in ns since 1970."""

    after_ns: int
    until_ns: int
    about_traces: ClassVar[bool] = False

    def may_hold(self, reader: Reader) -> bool:
        """Whether a span of the source may start within the window."""
        bounds = reader.bounds("start_ns")
        return bounds is None or (bounds[0] <= self.until_ns and bounds[1] > self.after_ns)
