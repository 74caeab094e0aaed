"""Series: rows of label codes with their values. One row is a label set; its columns are the label set's metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from agents.generator.config import METRIC_LABELS, OVERFLOW_LABEL
from agents.generator.series.columns_file import LabelSets, Tree
from agents.generator.series.exemplars import Exemplars, last_of_each
from agents.generator.series.histogram import Histogram, Layout, Observations
from agents.generator.series.labels import Labels, combine
from agents.generator.series.native import NativeHistograms
from agents.generator.series.snapshot import ExemplarsOf, Metric, Natives, Snapshot
from tables.columns.sorted_sets import unique
from tables.columns.types import Codes, Floats, Int64s
from tables.units import NS_PER_MS

_OVERFLOW_KEY: Final = b"overflow"
_OVERFLOW_LABELS: Final[Labels] = ((OVERFLOW_LABEL, "true"),)
_ROWS_AT_FIRST: Final = 16  # thousands of tenants may have tables
_SAVED: Final = ("totals", "sent", "native_sent", "native_sent_ms", "seen_s")  # arrays with a row per label set
EXEMPLAR_TIME_MIN_MS: Final = 1 << 35  # 1971: younger times have the width that requests count on


@dataclass(frozen=True, slots=True)
class TableConfig:
    """Configuration that all tables of a tenant share.

    trace_id_label: label of the trace id in exemplars; empty: no exemplars
    """

    external_labels: Labels = ()
    classic: bool = True
    native: bool = False
    native_bucket_factor: float = 1.1
    native_buckets_max: int = 100
    trace_id_label: str = ""


class SeriesTable:
    """The label sets of one processor of one tenant.

    The additions of a partition wait in its own delta until `collect`. So a partition that moves to another worker
    leaves no counts behind.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        labels_of: Callable[[Sequence[int]], Labels],
        config: TableConfig,
        histograms: Sequence[Histogram] = (),
        *,
        fractions: bool = False,
    ) -> None:
        """fractions: whether counts may be fractions"""
        layout = Layout(histograms, len(metrics), classic=config.classic)
        self.metrics = [*metrics, *layout.metrics]
        self.width = len(self.metrics)
        # Set by the tenant, who shares one limit among its tables.
        self.series_max: int | None = None
        self.rows_max: int | None = None
        self.overflowed = 0.0  # spans or edges that were counted under the overflow label
        self._labels_of, self._config, self._fractions = labels_of, config, fractions
        self._histograms, self._layout = list(histograms), layout
        self._natives = (
            NativeHistograms(config.native_bucket_factor, config.native_buckets_max)
            if config.native and histograms
            else None
        )
        self._exemplars = Exemplars(layout.slots) if config.trace_id_label and histograms else None
        self._series_of_row = sum(not metric.hidden for metric in self.metrics)
        self._series_of_row += len(histograms) if self._natives is not None else 0
        self._number_of: dict[bytes, int] = {}
        self._labels: list[Labels] = []
        self._free: list[int] = []
        self._totals = np.zeros((_ROWS_AT_FIRST, self.width))
        self._sent = np.zeros((_ROWS_AT_FIRST, self.width), np.bool_)
        self._native_sent = np.zeros((_ROWS_AT_FIRST, len(histograms)), np.bool_)
        self._native_sent_ms = np.zeros((_ROWS_AT_FIRST, len(histograms)), np.int64)  # the youngest exemplar
        self._seen_s = np.zeros(_ROWS_AT_FIRST)
        self._deltas: dict[int, Floats] = {}

    def __len__(self) -> int:
        return len(self._number_of)

    @property
    def active(self) -> int:
        """Number of series, as Prometheus counts them."""
        return len(self) * self._series_of_row

    # ---- counting

    def add(
        self,
        partition: int,
        columns: Sequence[Codes],
        amounts: Sequence[Floats | None],
        observed: Sequence[Observations],
        now_s: float,
    ) -> None:
        """Counts rows.

        columns: label codes per row; amounts: per row, for each metric that is not a histogram, None for 1; observed:
        for each histogram
        """
        if not columns or not len(columns[0]):
            return
        _, first, inverse = np.unique(combine(columns), return_index=True, return_inverse=True)
        keys = np.ascontiguousarray(np.stack([column[first] for column in columns], axis=1), dtype=np.int32)
        group, groups = inverse.astype(np.int32), len(first)
        parts: list[Floats] = [np.bincount(group, one, groups)[:, None].astype(np.float64) for one in amounts]
        buckets = [self._bucket(histogram, one) for histogram, one in zip(self._histograms, observed, strict=True)]
        for histogram, one, bucket in zip(self._histograms, observed, buckets, strict=True):
            classic = bucket if self._config.classic else None
            parts.append(histogram.columns(group, groups, one.seconds, one.weights, classic))
        row_of_group = self.add_groups(partition, keys, np.concatenate(parts, axis=1), now_s)
        for number, (one, bucket) in enumerate(zip(observed, buckets, strict=True)):
            if self._natives is not None:
                self._observe(partition, number, row_of_group, group, one)
            if self._exemplars is not None and bucket is not None:
                self._offer(number, row_of_group, group, bucket, one, now_s)

    def _bucket(self, histogram: Histogram, observed: Observations) -> Int64s | None:
        needed = self._config.classic or self._exemplars is not None
        return histogram.bucket(observed.seconds) if needed else None

    def add_groups(self, partition: int, keys: npt.NDArray[np.int32], counted: Floats, now_s: float) -> Int64s:
        """Counts groups. keys: shape (groups, labels), distinct; counted: (groups, width). Returns the row of each
        group.
        """
        rows = np.array([self._row(key, one) for key, one in zip(keys, counted[:, 0].tolist(), strict=True)], np.int64)
        delta = self._deltas.get(partition)
        if delta is None or len(delta) < len(self._totals):
            grown = np.zeros_like(self._totals)
            if delta is not None:
                grown[: len(delta)] = delta
            delta = self._deltas[partition] = grown
        np.add.at(delta, rows, counted)  # several groups may share the overflow's row
        self._seen_s[rows] = now_s
        return rows

    def _observe(self, partition: int, number: int, row_of_group: Int64s, group: Codes, observed: Observations) -> None:
        """Counts values in the native histogram with this number."""
        assert self._natives is not None
        series = row_of_group * len(self._histograms) + number
        seconds, weights = observed.seconds, observed.weights
        if weights is not None and not weights.all():
            some = np.flatnonzero(weights)
            group, seconds, weights = group[some], seconds[some], weights[some]
        self._natives.observe(partition, series, group, seconds, weights)

    def _offer(
        self, number: int, row_of_group: Int64s, group: Codes, bucket: Int64s, observed: Observations, now_s: float
    ) -> None:
        """Offers the last span of each series and bucket as an exemplar."""
        assert self._exemplars is not None
        buckets = self._histograms[number].buckets
        chosen = last_of_each(group * buckets + bucket, len(row_of_group) * buckets)
        if observed.weights is not None:
            chosen = chosen[observed.weights[chosen] > 0]
        # A client's clock may be ahead. An exemplar of tomorrow would keep all others away until then.
        times_ms = np.minimum(observed.end_ns[chosen] // NS_PER_MS, int(now_s * 1000))
        timely = times_ms >= EXEMPLAR_TIME_MIN_MS
        chosen, times_ms = chosen[timely], times_ms[timely]
        self._exemplars.grow(len(self._totals))
        self._exemplars.offer(
            row_of_group[group[chosen]],
            self._layout.first_slots[number] + bucket[chosen],
            observed.seconds[chosen],
            times_ms,
            observed.trace_ids[chosen],
        )

    def _row(self, key: npt.NDArray[np.int32], count: float) -> int:
        raw = key.tobytes()
        row = self._number_of.get(raw)
        if row is not None:
            return row
        over_series = self.series_max is not None and self.active + self._series_of_row > self.series_max
        if over_series or (self.rows_max is not None and len(self) >= self.rows_max):
            self.overflowed += count
            row = self._number_of.get(_OVERFLOW_KEY)
            return self._new_row(_OVERFLOW_KEY, _OVERFLOW_LABELS) if row is None else row
        return self._new_row(raw, self._labels_of(key.tolist()))

    def _new_row(self, key: bytes, labels: Labels) -> int:
        named = {**dict(self._config.external_labels), **dict(labels)}  # a series' own labels win
        ordered = tuple(sorted(pair for pair in named.items() if pair[1] and pair[0] not in METRIC_LABELS))
        if self._free:
            row = self._free.pop()
            self._labels[row] = ordered
        else:
            row = len(self._labels)
            self._labels.append(ordered)
            if row == len(self._totals):
                self._grow()
        self._number_of[key] = row
        return row

    def _grow(self) -> None:
        """Doubles the capacity in rows."""
        for name in ("_totals", "_sent", "_native_sent", "_native_sent_ms", "_seen_s"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)]))

    def forget(self, partition: int) -> None:
        """Drops what a partition added since the last collection."""
        self._deltas.pop(partition, None)
        if self._natives is not None:
            self._natives.forget(partition)

    # ---- pushes

    def collect(self, now_s: float, stale_after_s: float) -> Snapshot:
        """A snapshot of everything counted so far. Series without new data for stale_after_s end."""
        for delta in self._deltas.values():
            self._totals[: len(delta)] += delta
        self._deltas.clear()
        if self._natives is not None:
            self._natives.collect(len(self._totals) * len(self._histograms))
        snapshot = Snapshot(self.metrics, trace_id_label=self._config.trace_id_label)
        self._end_old(snapshot, now_s - stale_after_s)
        rows = np.fromiter(self._number_of.values(), np.int64, len(self._number_of))
        snapshot.labels = [self._labels[row] for row in rows.tolist()]
        snapshot.values = self._totals[rows]
        snapshot.shown = self._shown(snapshot.values)
        snapshot.created = snapshot.shown & ~self._sent[rows]
        self._sent[rows] |= snapshot.shown
        if self._natives is not None:
            snapshot.natives = self._collect_natives(rows)
        if self._exemplars is not None:
            self._collect_exemplars(rows, snapshot)
        return snapshot

    def _shown(self, values: Floats) -> npt.NDArray[np.bool_]:
        shown = np.broadcast_to(np.array([not metric.hidden for metric in self.metrics]), values.shape).copy()
        for column, metric in enumerate(self.metrics):
            if metric.sparse and metric.kind != "histogram":
                shown[:, column] &= values[:, column] > 0
        if self._config.classic:
            for histogram, last in zip(self._histograms, self._layout.sum_columns.tolist(), strict=True):
                if histogram.sparse:
                    shown[:, last - histogram.buckets - 1 : last + 1] &= values[:, last - 1 : last] > 0
        return shown

    def _end_old(self, snapshot: Snapshot, before_s: float) -> None:
        """Ends the rows without new data since before_s."""
        ended = []
        for key, row in list(self._number_of.items()):
            if self._seen_s[row] <= before_s:
                snapshot.stale.append((self._labels[row], self._sent[row].copy(), self._native_sent[row].copy()))
                del self._number_of[key]
                ended.append(row)
        if not ended:
            return
        self._free += ended
        rows = np.array(ended)
        self._totals[rows], self._sent[rows] = 0.0, False
        self._native_sent[rows], self._native_sent_ms[rows] = False, 0
        for row in ended:
            self._labels[row] = ()
        if self._natives is not None:
            count = len(self._histograms)
            self._natives.end((rows[:, None] * count + np.arange(count)).ravel())
        if self._exemplars is not None:
            self._exemplars.grow(len(self._totals))
            self._exemplars.end(rows)

    def _collect_natives(self, rows: Int64s) -> Natives:
        assert self._natives is not None
        state = self._natives.state()
        row, of = np.divmod(state.series, len(self._histograms))
        created = ~self._native_sent[row, of]
        self._native_sent[row, of] = True
        sums = self._totals[row, self._layout.sum_columns[of]]
        metrics = [histogram.native() for histogram in self._histograms]
        return Natives(metrics, state, self._places(rows)[row], of, sums, created, self._fractions)

    def _places(self, rows: Int64s) -> Int64s:
        places = np.zeros(len(self._totals), np.int64)
        places[rows] = np.arange(len(rows))
        return places

    def _collect_exemplars(self, rows: Int64s, snapshot: Snapshot) -> None:
        assert self._exemplars is not None
        self._exemplars.grow(len(self._totals))
        places, slots, spans = self._exemplars.collect(rows)
        if self._config.classic:
            snapshot.exemplars = ExemplarsOf(places * self.width + self._layout.column_of[slots], spans)
        if snapshot.natives is None:
            return
        row, of = rows[places], self._layout.histogram_of[slots]
        known, wanted = snapshot.natives.state.series, row * len(self._histograms) + of
        number = np.searchsorted(known, wanted)
        # A span of a partition that was revoked meanwhile may belong to a series that was never counted here.
        there = np.flatnonzero(np.append(known, -1)[number] == wanted)
        order = there[np.lexsort((spans["time_ms"][there], number[there]))]
        number, spans, row, of = number[order], spans[order], row[order], of[order]
        # Times must rise within a series; of two spans that ended in the same millisecond one is enough.
        rises = spans["time_ms"] > self._native_sent_ms[row, of]
        rises[1:] &= (number[1:] != number[:-1]) | (spans["time_ms"][1:] > spans["time_ms"][:-1])
        snapshot.native_exemplars = ExemplarsOf(number[rises], spans[rises])
        self._native_sent_ms[row[rises], of[rises]] = spans["time_ms"][rises]

    # ---- over a restart

    def saved(self) -> Tree:
        """A copy of what was collected, for `restore`."""
        overflow = self._number_of.get(_OVERFLOW_KEY, -1)
        named = [(key, row) for key, row in self._number_of.items() if key != _OVERFLOW_KEY]
        keys = np.frombuffer(b"".join([key for key, _ in named]), np.int32)
        return {
            "rows": len(self._labels),
            "overflow": overflow,
            "keys": keys.reshape(len(named), -1) if named else keys.reshape(0, 0),
            "row_of": np.array([row for _, row in named], np.int64),
            "labels": LabelSets(self._labels.copy()),
            **{name: getattr(self, f"_{name}")[: len(self._labels)].copy() for name in _SAVED},
            "natives": None if self._natives is None else self._natives.saved(),
        }

    def restore(self, saved: Tree) -> None:
        """Continues from `saved`, in a table with the same configuration."""
        rows = saved["rows"]
        while len(self._totals) < rows:
            self._grow()
        for name in _SAVED:
            getattr(self, f"_{name}")[:rows] = saved[name]
        self._labels = list(saved["labels"].many)
        row_of = saved["row_of"].tolist()
        self._number_of = {key.tobytes(): row for key, row in zip(saved["keys"], row_of, strict=True)}
        if saved["overflow"] >= 0:
            self._number_of[_OVERFLOW_KEY] = saved["overflow"]
        self._free = sorted(set(range(rows)) - set(self._number_of.values()))
        if self._natives is not None:
            self._natives.restore(saved["natives"])

    # ---- labels' codes

    def used(self, label: int) -> npt.NDArray[np.int32]:
        """The codes of a label that any series has."""
        keys = [np.frombuffer(key, np.int32)[label] for key in self._number_of if key != _OVERFLOW_KEY]
        return unique(np.array(keys, np.int32))

    def renumber(self, moved: Sequence[Codes]) -> None:
        """Applies new label codes: moved[label][old code] is the new code."""
        renamed = {}
        for key, row in self._number_of.items():
            if key == _OVERFLOW_KEY:
                renamed[key] = row
                continue
            codes = np.frombuffer(key, np.int32).tolist()
            renamed[np.array([moved[label][code] for label, code in enumerate(codes)], np.int32).tobytes()] = row
        self._number_of = renamed
