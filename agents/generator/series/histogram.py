"""The histograms of a table: which columns they take, and what a batch adds to those."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.generator.series.labels import number_text
from agents.generator.series.snapshot import Metric
from tables.columns.types import Codes, Floats, Int64s

_UNIT: Final = "seconds"


@dataclass(frozen=True, slots=True)
class Histogram:
    """One of a table's. sparse: a label set has it only when something was observed."""

    name: str
    bounds_s: tuple[float, ...]
    help: str = ""
    sparse: bool = False

    @property
    def buckets(self) -> int:
        """With that up to infinity."""
        return len(self.bounds_s) + 1

    def metrics(self, *, classic: bool) -> list[Metric]:
        """Its columns: buckets in order of their bounds, `_count`, `_sum`; without classic ones the sum alone."""
        if not classic:
            return [Metric(f"{self.name}_sum", hidden=True)]
        labels = [("le", number_text(bound)) for bound in (*self.bounds_s, float("inf"))]
        named: list[tuple[str, tuple[str, str] | None]] = [(f"{self.name}_bucket", label) for label in labels]
        named += [(f"{self.name}_count", None), (f"{self.name}_sum", None)]
        return [Metric(name, label, self.sparse, kind="histogram", help=self.help, unit=_UNIT) for name, label in named]

    def native(self) -> Metric:
        """As a native one."""
        return Metric(self.name, kind="histogram", help=self.help, unit=_UNIT)

    def bucket(self, seconds: Floats) -> Int64s:
        """The classic bucket of each value."""
        found: Int64s = np.searchsorted(np.array(self.bounds_s), seconds, "left")
        return found

    def columns(
        self, group: Codes, groups: int, seconds: Floats, weights: Floats | None, bucket: Int64s | None
    ) -> Floats:
        """What the groups add to `metrics`, shape (groups, columns). bucket: None without classic columns."""
        sums: Floats = np.bincount(group, seconds if weights is None else seconds * weights, groups).astype(np.float64)
        if bucket is None:
            return sums[:, None]
        counts = np.bincount(group * self.buckets + bucket, weights, groups * self.buckets)
        total = np.cumsum(counts.reshape(groups, self.buckets), axis=1)
        return np.column_stack([total, total[:, -1], sums])


class Observations(NamedTuple):
    """Values for a histogram, one per row; those of weight 0 do not count.

    weights: None for 1; end_ns, trace_ids: of the spans that the values are of; trace_ids has the shape (rows, 2)
    """

    seconds: Floats
    weights: Floats | None
    end_ns: Int64s
    trace_ids: npt.NDArray[np.uint64]


class Layout:
    """Where the columns and exemplars of several histograms are. first_column: of the first of them."""

    def __init__(self, histograms: Sequence[Histogram], first_column: int, *, classic: bool) -> None:
        self.classic = classic
        self.metrics = [metric for one in histograms for metric in one.metrics(classic=classic)]
        widths = [one.buckets + 2 if classic else 1 for one in histograms]
        firsts = first_column + np.cumsum([0, *widths])
        self.sum_columns = (firsts[1:] - 1).astype(np.int64)
        self.first_slots = np.cumsum([0, *(one.buckets for one in histograms)]).astype(np.int64)
        self.slots = int(self.first_slots[-1])
        # By slot: the histogram, and the column of its bucket, where there is one.
        self.histogram_of = np.repeat(np.arange(len(histograms)), [one.buckets for one in histograms])
        self.column_of = firsts[self.histogram_of] + np.arange(self.slots) - self.first_slots[self.histogram_of]
