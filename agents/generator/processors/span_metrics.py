"""Processor span-metrics: calls, latency and size of spans, by service, name, kind, status and dimensions."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.generator.config import SpanMetricsConfig
from agents.generator.processors.batch import Batch, ResourceFacts
from agents.generator.processors.filters import passing
from agents.generator.series.columns_file import Plain, Tree
from agents.generator.series.histogram import Histogram, Observations
from agents.generator.series.labels import KIND_TEXTS, STATUS_TEXTS, Interner, Labels, label_names, sanitized
from agents.generator.series.series import SeriesTable, TableConfig
from agents.generator.series.snapshot import Metric, Snapshot
from tables.columns.sorted_sets import union, unique
from tables.columns.types import Codes, Floats
from tables.wire.span_bytes import span_bytes

CALLS: Final = "traces_spanmetrics_calls_total"
SIZE: Final = "traces_spanmetrics_size_total"
LATENCY: Final = "traces_spanmetrics_latency"
TARGET_INFO: Final = "traces_target_info"

_METRICS: Final = (
    Metric(CALLS, help="Spans."),
    Metric(SIZE, help="Bytes of the spans as OTLP.", unit="bytes"),
)
_TARGET: Final = Metric(TARGET_INFO, kind="gauge", help="Attributes of the resources that spans come from.")
_INTRINSICS: Final = ("service", "span_name", "span_kind", "status_code", "status_message")
_ENUMS: Final = {"span_kind": KIND_TEXTS, "status_code": STATUS_TEXTS}
# A group-by of this many rows costs next to nothing per row; for a small record it costs several times as much.
_ROWS_AT_ONCE: Final = 32_768
_TARGETS_KEPT: Final = 1000
_IDENTITY: Final = frozenset({"service.name", "service.namespace", "service.instance.id"})


class _Rows(NamedTuple):
    """The spans that count, one value per span in each array."""

    columns: list[Codes]
    seconds: Floats
    bytes: npt.NDArray[np.int64]
    end_ns: npt.NDArray[np.int64]
    trace_ids: npt.NDArray[np.uint64]
    weights: Floats | None


class Prepared(NamedTuple):
    """Rows as `SpanMetrics.add` expects them. targets: codes of the label sets of traces_target_info; filtered: number
    of spans that filter policies removed
    """

    rows: _Rows
    targets: Codes
    filtered: int


class SpanMetrics:
    """The span metrics of one tenant."""

    def __init__(self, config: SpanMetricsConfig, tables: TableConfig, values_max: int = 0) -> None:
        self._config = config
        self._intrinsics = [name for name in _INTRINSICS if name in config.intrinsic_dimensions]
        self._of_target = [] if not config.enable_target_info else ["job"]
        self._of_target += ["instance"] if self._of_target and config.enable_instance_label else []
        self._external = [name for name, _ in tables.external_labels]
        # As in Tempo, a dimension has the same label whichever intrinsics are chosen.
        taken = {*_INTRINSICS, *self._of_target, *self._external}
        named = [*config.dimensions, *(mapping.name for mapping in config.dimension_mappings)]
        self._names = names = [*self._intrinsics, *label_names(named, taken), *self._of_target]
        # Kinds and codes are few, and their codes are known beforehand: a limit on values does not hold for them.
        self._interners = [Interner(0 if name in _ENUMS else values_max) for name in names]
        for name, interner in zip(names, self._interners, strict=True):
            interner.codes(_ENUMS.get(name, ()))  # their code is OTLP's number, plus one
        latency = Histogram(LATENCY, config.histogram_buckets, "Duration of the spans.")
        weighted = bool(config.span_multiplier_key)
        self.table = SeriesTable(_METRICS, self._labels, tables, [latency], fractions=weighted)
        self._targets: dict[str, Labels] = {}
        self._target_codes = Interner()
        self.targets = SeriesTable([_TARGET], self._target_labels, tables)
        self._pending: dict[int, list[_Rows]] = {}
        self._pending_rows = 0
        self.filtered = 0  # spans that filter policies left out

    @property
    def tables(self) -> list[SeriesTable]:
        """The tables whose label sets count towards the tenant's limit."""
        return [self.table, self.targets]

    @property
    def label_overflowed(self) -> int:
        """Label values that were replaced because their label has too many values."""
        return sum(interner.overflowed for interner in self._interners)

    def prepare(self, batch: Batch) -> Prepared:
        """Reads a record's rows. It counts nothing, so that any error leaves the counters unchanged."""
        mask = passing(batch, self._config.filter_policies)
        rows = _Rows(
            self._columns(batch),
            batch.seconds,
            span_bytes(batch.spans, batch.attributes),
            batch.end_ns,
            batch.words("trace_id"),
            batch.weights(self._config.span_multiplier_key),
        )
        targets = self._target_rows(batch, mask)
        if mask is not None:
            rows = _Rows(
                [column[mask] for column in rows.columns],
                rows.seconds[mask],
                rows.bytes[mask],
                rows.end_ns[mask],
                rows.trace_ids[mask],
                None if rows.weights is None else rows.weights[mask],
            )
        return Prepared(rows, targets, batch.rows - len(rows.seconds))

    def add(self, partition: int, prepared: Prepared, now_s: float) -> None:
        """Adds the rows from `prepare`; `flush` counts them, several records at a time."""
        rows, targets = prepared.rows, prepared.targets
        self.filtered += prepared.filtered
        for interner, codes in zip(self._interners, rows.columns, strict=True):
            interner.count_overflowed(codes)
        if len(targets):
            self.targets.add_groups(partition, targets[:, None], np.ones((len(targets), 1)), now_s)
        self._pending.setdefault(partition, []).append(rows)
        self._pending_rows += len(rows.seconds)
        if self._pending_rows >= _ROWS_AT_ONCE:
            self.flush(now_s)

    def flush(self, now_s: float) -> None:
        """Counts the pending rows."""
        while self._pending:
            # Taken out first, so that an error does not repeat for ever.
            partition = next(iter(self._pending))
            parts = self._pending.pop(partition)
            self._pending_rows -= sum(len(part.seconds) for part in parts)
            self._count(partition, parts, now_s)

    @property
    def pending(self) -> int:
        """Number of spans that wait for `flush`."""
        return self._pending_rows

    def forget(self, partition: int) -> None:
        """Drops what a partition added since the last collection."""
        for part in self._pending.pop(partition, []):
            self._pending_rows -= len(part.seconds)
        for table in self.tables:
            table.forget(partition)

    def collect(self, now_s: float, stale_after_s: float) -> list[Snapshot]:
        """A snapshot of everything counted so far."""
        self.flush(now_s)
        spans = self.table.collect(now_s, stale_after_s)
        if spans.stale:
            used = [self.table.used(label) for label in range(len(self._names))]
            for number, name in enumerate(self._names):
                used[number] = union(used[number], np.arange(len(_ENUMS.get(name, ())) + 1)).astype(np.int32)
            self.table.renumber([one.keep(kept) for one, kept in zip(self._interners, used, strict=True)])
        targets = self.targets.collect(now_s, stale_after_s)
        # Targets beyond the limit on series are never pushed, and never end: they must not accumulate.
        if targets.stale or len(self._targets) > 2 * len(self.targets) + _TARGETS_KEPT:
            self.targets.renumber([self._target_codes.keep(self.targets.used(0))])
            self._targets = {name: self._targets[name] for name in self._target_codes.values[1:]}
        targets.values = np.ones_like(targets.values)  # a gauge that says: this exists
        targets.created = np.zeros_like(targets.created)
        return [spans, targets]

    def saved(self) -> Tree:
        """A copy of what was collected, for `restore`."""
        return {
            "values": Plain([list(interner.values) for interner in self._interners]),
            "table": self.table.saved(),
            "target_values": Plain(list(self._target_codes.values)),
            "target_labels": Plain(dict(self._targets)),
            "targets": self.targets.saved(),
        }

    def restore(self, saved: Tree) -> None:
        """Replaces the counts by those of a saved state, as the method that saves returned it."""
        for interner, values in zip(self._interners, saved["values"], strict=True):
            interner.restore(values)
        self.table.restore(saved["table"])
        self._target_codes.restore(saved["target_values"])
        self._targets = {
            name: tuple((label, value) for label, value in labels) for name, labels in saved["target_labels"].items()
        }
        self.targets.restore(saved["targets"])

    def _count(self, partition: int, parts: Sequence[_Rows], now_s: float) -> None:
        columns = [np.concatenate(of_parts) for of_parts in zip(*(part.columns for part in parts), strict=True)]
        seconds = np.concatenate([part.seconds for part in parts])
        sizes = np.concatenate([part.bytes for part in parts]).astype(np.float64)
        weights = None
        if any(part.weights is not None for part in parts):
            weights = np.concatenate(
                [np.ones(len(part.seconds)) if part.weights is None else part.weights for part in parts]
            )
            sizes *= weights
        observed = Observations(
            seconds,
            weights,
            np.concatenate([part.end_ns for part in parts]),
            np.concatenate([part.trace_ids for part in parts]),
        )
        # Without any label, all rows are of one label set.
        self.table.add(partition, columns or [np.zeros(len(seconds), np.int32)], [weights, sizes], [observed], now_s)

    def _columns(self, batch: Batch) -> list[Codes]:
        interners = iter(self._interners)
        columns = [self._intrinsic(name, batch, next(interners)) for name in self._intrinsics]
        columns += [batch.attribute_codes(key, next(interners)) for key in self._config.dimensions]
        for mapping in self._config.dimension_mappings:
            own = Interner()
            sources = [batch.attribute_codes(key, own) for key in mapping.source_labels]
            columns.append(_joined(sources, own.values, mapping.join, next(interners)))
        for name in self._of_target:
            of_resource = _job if name == "job" else self._instance
            columns.append(batch.by_resource([of_resource(facts) for facts in batch.resources], next(interners)))
        return columns

    def _intrinsic(self, name: str, batch: Batch, interner: Interner) -> Codes:
        match name:
            case "service":
                return batch.by_resource([facts.service for facts in batch.resources], interner)
            case "span_name":
                return batch.text_codes("name", interner)
            case "status_message":
                return batch.text_codes("status_message", interner)
            case _:
                column = batch.kind if name == "span_kind" else batch.status
                return np.where(column < len(_ENUMS[name]), column, 0).astype(np.int32) + 1

    def _labels(self, codes: Sequence[int]) -> Labels:
        triples = zip(self._names, self._interners, codes, strict=False)  # without any label, there is one dummy code
        return tuple((name, interner.values[code]) for name, interner, code in triples)

    # ---- traces_target_info

    def _instance(self, facts: ResourceFacts) -> str:
        return facts.texts.get("service.instance.id", "") if self._config.enable_instance_label else ""

    def _target_rows(self, batch: Batch, mask: npt.NDArray[np.bool_] | None) -> Codes:
        if not self._config.enable_target_info:
            return np.zeros(0, np.int32)
        codes = batch.by_resource([self._target(facts) for facts in batch.resources], self._target_codes)
        codes = unique(codes if mask is None else codes[mask])
        return codes[codes > 0].astype(np.int32)

    def _target(self, facts: ResourceFacts) -> str:
        """The code of a resource's label set in traces_target_info; "" for a resource without one."""
        # An empty key would be a label without a name, for which receivers refuse the whole push.
        excluded = {"", *_IDENTITY, *self._config.target_info_excluded_dimensions}
        # If several keys map to one name, the key that is spelled like it keeps it, whatever the order.
        keys = sorted(facts.texts.keys() - excluded, key=lambda key: (sanitized(key) != key, key))
        job, instance = _job(facts), self._instance(facts)
        if not job or not keys:
            return ""
        names = label_names(keys, {"job", "instance", *self._external})
        kept = zip(names, (facts.texts[key] for key in keys), strict=True)
        labels: Labels = (("job", job), ("instance", instance), *sorted(kept))
        named = repr(labels)
        self._targets[named] = labels
        return named

    def _target_labels(self, codes: Sequence[int]) -> Labels:
        return self._targets[self._target_codes.values[codes[0]]]


def _job(facts: ResourceFacts) -> str:
    """The label job as Prometheus maps it from OpenTelemetry: namespace/name."""
    namespace = facts.texts.get("service.namespace", "")
    return f"{namespace}/{facts.service}" if namespace and facts.service else facts.service


def _joined(sources: Sequence[Codes], values: Sequence[str], join: str, interner: Interner) -> Codes:
    """The joined texts of each row. Each combination is joined once."""
    combinations, of_row = np.unique(np.stack(sources, axis=1), axis=0, return_inverse=True)
    texts = [join.join(values[code] for code in codes if code) for codes in combinations.tolist()]
    return interner.codes(texts)[of_row.reshape(-1)]
