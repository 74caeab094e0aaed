"""What a query's work was spent on: filled while it runs, for `stretto explain` and debugging."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from query.scan.reader import Reader
from tables.storage.request_usage import RequestUsage


class _Stage:
    """By hand: a generator would take several times as long, for every source of every query."""

    __slots__ = ("_name", "_profile", "_start_s")

    def __init__(self, profile: "Profile", name: str) -> None:
        self._profile, self._name, self._start_s = profile, name, 0.0

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        stages = self._profile.stages
        stages[self._name] = stages.get(self._name, 0.0) + time.perf_counter() - self._start_s


class _OfSource:
    __slots__ = ("_before", "_profile", "_reader", "_start_s")

    def __init__(self, profile: "Profile", reader: Reader) -> None:
        self._profile, self._reader, self._before = profile, reader, reader.bytes_read

    def __enter__(self) -> None:
        self._start_s = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        profile, reader = self._profile, self._reader
        stages = profile.stages
        stages["evaluate"] = stages.get("evaluate", 0.0) + time.perf_counter() - self._start_s
        if kind is not None:
            return
        if reader.bytes_read > self._before:
            profile.scanned += 1
            profile.rows += reader.rows_max
        else:
            profile.decided += 1


@dataclass(slots=True)
class Profile:
    """The work of one query. A source is a row group of a segment or block, or a part of a head."""

    stages: dict[str, float] = field(default_factory=dict)  # seconds of each, in order
    outside: int = 0  # sources that the time range left out
    unneeded: int = 0  # sources that can hold nothing newer than what was found
    decided: int = 0  # sources that needed no column, because bounds or missing columns said it all
    scanned: int = 0  # the other sources, and pieces of stitched traces
    stitched: bool = False  # whether traces that lie in several sources were stitched
    columns: dict[str, int] = field(default_factory=dict)  # read whole or in part, in order: from how many sources
    rows: int = 0
    bytes: int = 0
    storage: RequestUsage = field(default_factory=RequestUsage)  # what was asked of the object storage

    def stage(self, name: str) -> "_Stage":
        """Adds the time inside a `with` to the stage's."""
        return _Stage(self, name)

    def source(self, reader: Reader) -> "_OfSource":
        """Inside a `with` the source is evaluated."""
        return _OfSource(self, reader)

    def finish(self, readers: Sequence[Reader], work: Sequence[Reader], unneeded: int = 0) -> None:
        """At the end. In: a reader for each source, and those that were evaluated, stitched traces among them;
        how many need not be any more
        """
        evaluated = {id(reader) for reader in work}
        self.unneeded = unneeded
        self.outside = max(0, sum(id(reader) not in evaluated for reader in readers) - unneeded)
        self.stitched = not evaluated <= {id(reader) for reader in readers}
        for reader in {id(reader): reader for reader in [*readers, *work]}.values():
            self.bytes += reader.bytes_read
            for column in reader.read_columns:
                self.columns[column] = self.columns.get(column, 0) + 1
