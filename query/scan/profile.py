"""What a query's work was spent on: filled while it runs, for `stretto explain` and debugging."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from query.scan.reader import Reader


@dataclass(slots=True)
class Profile:
    """Of one query. A source is a row group of a segment or block, or a part of a head.

    stages: seconds of each, in order
    outside: sources that the time range left out; unneeded: those that can hold nothing newer than what was found;
    decided: those that needed no column, because bounds or missing
        columns said it all; scanned: the others, one of them, if `stitched`, traces put together from several
    columns: whole or in part read, in order, with the number of sources
    """

    stages: dict[str, float] = field(default_factory=dict)
    outside: int = 0
    unneeded: int = 0
    decided: int = 0
    scanned: int = 0
    stitched: bool = False
    columns: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    bytes: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time inside to the stage's."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def source(self, reader: Reader) -> Iterator[None]:
        """Inside, the source is evaluated."""
        before = reader.bytes_read
        with self.stage("evaluate"):
            yield
        if reader.bytes_read > before:
            self.scanned += 1
            self.rows += reader.rows
        else:
            self.decided += 1

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
