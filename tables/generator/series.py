"""Series: rows of label codes, and what was counted for each. All columns of a row are one label set's metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tables.generator.labels import Codes, Labels, combine
from tables.generator.write_request import series_head

Floats = npt.NDArray[np.float64]
_OVERFLOW_KEY: Final = b"overflow"
_OVERFLOW_LABELS: Final[Labels] = (("metric_overflow", "true"),)
_ROWS_AT_FIRST: Final = 64


class Metric(NamedTuple):
    """One metric of each label set. sparse: not sent before it is above 0."""

    name: str
    label: tuple[str, str] | None = None  # besides those of the set, as `le`
    sparse: bool = False


@dataclass(eq=False, slots=True)
class Snapshot:
    """What one push says of a table: flat, one entry per series."""

    heads: list[bytes] = field(default_factory=list)
    values: Floats = field(default_factory=lambda: np.zeros(0))
    created: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))  # never sent before
    stale: list[bytes] = field(default_factory=list)  # heads of series that have ended


class SeriesTable:
    """The label sets of one processor of one tenant.

    What comes from a partition waits in its own delta until `collect`: a partition that goes to another worker before
    takes nothing of it along.
    """

    def __init__(
        self, metrics: Sequence[Metric], labels_of: Callable[[Sequence[int]], Labels], external: Labels = ()
    ) -> None:
        self.metrics = list(metrics)
        self.width = len(self.metrics)
        self.series_max = 0  # set by the tenant, who shares one limit among its tables
        self.overflowed = 0.0  # spans or edges that were counted under the overflow label
        self._labels_of, self._external = labels_of, external
        self._number_of: dict[bytes, int] = {}
        self._key_of: list[bytes] = []
        self._heads: list[list[bytes]] = []
        self._free: list[int] = []
        self._totals = np.zeros((_ROWS_AT_FIRST, self.width))
        self._sent = np.zeros((_ROWS_AT_FIRST, self.width), np.bool_)
        self._seen_s = np.zeros(_ROWS_AT_FIRST)
        self._deltas: dict[int, Floats] = {}

    def __len__(self) -> int:
        return len(self._number_of)

    @property
    def active(self) -> int:
        """Series, as Prometheus counts them."""
        return len(self) * self.width

    def add(
        self, partition: int, columns: Sequence[Codes], spans: Callable[[Codes, int], Floats], now_s: float
    ) -> None:
        """Counts rows. columns: label codes per row; spans: (group of each row, groups) → (groups, width) to add."""
        if not columns or not len(columns[0]):
            return
        _, first, group = np.unique(combine(columns), return_index=True, return_inverse=True)
        keys = np.ascontiguousarray(np.stack([column[first] for column in columns], axis=1), dtype=np.int32)
        counted = spans(group.astype(np.int32), len(first))
        self.add_groups(partition, keys, counted, now_s)

    def add_groups(self, partition: int, keys: npt.NDArray[np.int32], counted: Floats, now_s: float) -> None:
        """keys: shape (groups, labels), distinct; counted: (groups, width)."""
        rows = np.array([self._row(key, one) for key, one in zip(keys, counted[:, 0].tolist(), strict=True)], np.int64)
        delta = self._deltas.get(partition)
        if delta is None or len(delta) < len(self._totals):
            grown = np.zeros_like(self._totals)
            if delta is not None:
                grown[: len(delta)] = delta
            delta = self._deltas[partition] = grown
        np.add.at(delta, rows, counted)  # several groups may share the overflow's row
        self._seen_s[rows] = now_s

    def _row(self, key: npt.NDArray[np.int32], count: float) -> int:
        raw = key.tobytes()
        row = self._number_of.get(raw)
        if row is not None:
            return row
        if self.series_max and self.active + self.width > self.series_max:
            self.overflowed += count
            row = self._number_of.get(_OVERFLOW_KEY)
            return self._new_row(_OVERFLOW_KEY, _OVERFLOW_LABELS) if row is None else row
        return self._new_row(raw, self._labels_of(key.tolist()))

    def _new_row(self, key: bytes, labels: Labels) -> int:
        heads = [
            series_head(
                (
                    *self._external,  # first: a series' own labels win
                    ("__name__", metric.name),
                    *labels,
                    *((metric.label,) if metric.label else ()),
                )
            )
            for metric in self.metrics
        ]
        if self._free:
            row = self._free.pop()
            self._key_of[row], self._heads[row] = key, heads
        else:
            row = len(self._key_of)
            self._key_of.append(key)
            self._heads.append(heads)
            if row == len(self._totals):
                self._totals, self._sent, self._seen_s = (
                    np.concatenate([array, np.zeros_like(array)]) for array in (self._totals, self._sent, self._seen_s)
                )
        self._number_of[key] = row
        return row

    def forget(self, partition: int) -> None:
        """Drops what was counted for a partition and not collected."""
        self._deltas.pop(partition, None)

    def collect(self, now_s: float, stale_after_s: float) -> Snapshot:
        """Everything counted so far; series that nothing was added to for long end."""
        for delta in self._deltas.values():
            self._totals[: len(delta)] += delta
        self._deltas.clear()
        snapshot = Snapshot()
        for key, row in list(self._number_of.items()):
            if self._seen_s[row] + stale_after_s <= now_s:
                snapshot.stale += [head for head, sent in zip(self._heads[row], self._sent[row], strict=True) if sent]
                del self._number_of[key]
                self._totals[row], self._sent[row], self._heads[row] = 0.0, False, []
                self._free.append(row)
        rows = np.fromiter(self._number_of.values(), np.int64, len(self._number_of))
        values = self._totals[rows]
        sparse = np.array([metric.sparse for metric in self.metrics])
        shown = ~sparse | (values > 0)
        snapshot.values = values[shown]
        snapshot.created = (~self._sent[rows])[shown]
        heads = [head for row in rows.tolist() for head in self._heads[row]]
        snapshot.heads = (
            heads if shown.all() else [head for head, one in zip(heads, shown.ravel().tolist(), strict=True) if one]
        )
        self._sent[rows] |= shown
        return snapshot

    def used(self, label: int) -> npt.NDArray[np.int32]:
        """The codes of a label that any series has."""
        keys = [np.frombuffer(key, np.int32)[label] for key in self._number_of if key != _OVERFLOW_KEY]
        return np.unique(np.array(keys, np.int32))

    def renumber(self, moved: Sequence[Codes]) -> None:
        """The labels' codes have changed: moved[label][former code] is the new one."""
        renamed = {}
        for key, row in self._number_of.items():
            if key == _OVERFLOW_KEY:
                renamed[key] = row
                continue
            codes = np.frombuffer(key, np.int32).tolist()
            new = np.array([moved[label][code] for label, code in enumerate(codes)], np.int32).tobytes()
            renamed[new] = row
            self._key_of[row] = new
        self._number_of = renamed


def histogram(name: str, bounds_s: Sequence[str]) -> list[Metric]:
    """The metrics of a classic histogram: its buckets in order of their bounds, `_count`, `_sum`."""
    buckets = [Metric(f"{name}_bucket", ("le", bound)) for bound in (*bounds_s, "+Inf")]
    return [*buckets, Metric(f"{name}_count"), Metric(f"{name}_sum")]


def observed(group: Codes, groups: int, seconds: Floats, bounds_s: Floats, weights: Floats | None) -> Floats:
    """Columns of `histogram`, for each group: shape (groups, buckets + 2)."""
    buckets = len(bounds_s) + 1
    bucket = np.searchsorted(bounds_s, seconds, "left")
    counts = np.bincount(group * buckets + bucket, weights, groups * buckets).reshape(groups, buckets)
    total = np.cumsum(counts, axis=1)
    weighted = seconds if weights is None else seconds * weights
    sums = np.bincount(group, weighted, groups)
    return np.column_stack([total, total[:, -1], sums])
