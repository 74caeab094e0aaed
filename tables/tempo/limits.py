"""The time range that is imported."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from tables.columns.arrays import numbers
from tables.tempo.block_meta import TempoMeta
from tables.units import NS_PER_MS
from tables.wire.split import take_rows

_INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Spans that start from since_ns on and before until_ns, Unix ns."""

    since_ns: int = 0
    until_ns: int = _INT64_MAX

    def overlap(self, meta: TempoMeta) -> bool:
        """Whether the block may have such spans, by what Tempo says of it. An unknown time may be any."""
        end = (meta.end_ms + 1000) * NS_PER_MS  # whole seconds, rounded down
        return not meta.end_ms or (meta.start_ms * NS_PER_MS < self.until_ns and end >= self.since_ns)

    def hold(self, meta: TempoMeta) -> bool:
        """Whether the whole block lies within. Then all its spans count, also those of a client with a wrong clock."""
        end = (meta.end_ms + 1000) * NS_PER_MS
        return meta.end_ms > 0 and meta.start_ms * NS_PER_MS >= self.since_ns and end <= self.until_ns

    def within(self, spans: pa.RecordBatch) -> pa.RecordBatch:
        """The spans that start within the limits."""
        start = numbers(spans.column("start_ns"))
        inside = (start >= self.since_ns) & (start < self.until_ns)
        return spans if inside.all() else take_rows(spans, np.flatnonzero(inside))


EVERYTHING: Final = TimeLimits()
