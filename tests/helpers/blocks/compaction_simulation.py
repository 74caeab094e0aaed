"""A month of flushes and merges without storage: how many blocks there are, and how often each byte is written."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.compactor.plan import BlockColumns, CompactionRules, columns_of, expired, plan_merges

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

Row = tuple[str, int, int, int, int, int]  # as `columns_of` takes


@dataclass
class Simulation:
    """Blocks of one tenant, merged as planned. levels and windows are those of the real executor."""

    rules: CompactionRules
    retention_ms: int = 14 * DAY_MS
    blocks: dict[str, Row] = field(default_factory=dict)
    flushed_bytes: int = 0
    written_bytes: int = 0
    merged: set[str] = field(default_factory=set)
    most: int = 0  # blocks of one partition
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def flush(self, place: int, newest_ms: int, size: int) -> None:
        number = next(self.numbers)
        self.blocks[f"f{number}"] = (f"f{number}", place, newest_ms, number, size, 0)
        self.flushed_bytes += size

    def columns(self) -> BlockColumns:
        return columns_of(self.blocks.values())

    def compact(self, now_ms: int) -> None:
        columns = self.columns()
        gone = set()
        for row in expired(columns, now_ms - self.retention_ms):
            gone.add(columns.ids[row])
            del self.blocks[columns.ids[row]]
        while merges := plan_merges(columns := self.columns(), self.rules, now_ms):
            for rows in merges:
                self.merge([columns.ids[row] for row in rows])
        per_place = np.bincount(self.columns().places, minlength=1)
        self.most = max(self.most, int(per_place.max()))

    def merge(self, inputs: Sequence[str]) -> None:
        assert len(inputs) >= 2
        assert self.merged.isdisjoint(inputs), "a block is replaced twice"
        self.merged.update(inputs)
        old = [self.blocks.pop(name) for name in inputs]
        assert len({one[1] for one in old}) == 1
        size = sum(one[4] for one in old)
        assert all(one[4] < self.rules.block_bytes_max for one in old)
        self.written_bytes += size
        name = f"m{next(self.numbers)}"
        self.blocks[name] = (
            name,
            old[0][1],
            max(one[2] for one in old),
            min(one[3] for one in old),
            size,
            1 + max(one[5] for one in old),
        )

    @property
    def amplification(self) -> float:
        return self.written_bytes / self.flushed_bytes
