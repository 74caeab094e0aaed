"""The metrics of one tenant: its processors, its limits, and the snapshots for a push."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agents.generator.config import SERVICE_GRAPHS, SPAN_METRICS, GeneratorConfig, fingerprint
from agents.generator.processors.batch import Batch, Resources
from agents.generator.processors.service_graph import ServiceGraphs
from agents.generator.processors.span_metrics import SpanMetrics
from agents.generator.series.columns_file import Tree
from agents.generator.series.series import SeriesTable, TableConfig
from agents.generator.series.snapshot import Snapshot
from tables.columns.arrays import numbers
from tables.columns.trace_facts import elapsed_ns
from tables.wall import is_fault, walled

log = logging.getLogger(__name__)

_INT64: Final = np.iinfo(np.int64)

# Small records are joined: each costs half a millisecond alone, a tenth in company.
_ROWS_AT_ONCE: Final = 8192
_RECORDS_AT_ONCE: Final = 64
_NEEDED: Final = (
    *("trace_id", "span_id", "parent_span_id", "name", "kind", "start_ns", "duration_ns", "status_code"),
    *("status_message", "attributes", "resource", "flags", "trace_state", "events", "links"),
)


class _Taken(NamedTuple):
    """A record's rows. time_ms: Kafka's timestamp; offset: in the partition"""

    spans: pa.RecordBatch
    time_ms: int
    offset: int


@dataclass(eq=False, slots=True)
class _PendingRecords:
    """Records of a partition that are not counted yet."""

    taken: list[_Taken]
    rows: int = 0


@dataclass(frozen=True, slots=True)
class TenantStats:
    """Stats of a tenant, counted since its first span."""

    active_series: int
    overflowed: float  # spans and edges counted under the label metric_overflow: too many series or entities
    filtered: int  # spans that filter policies left out of the span metrics
    failed: (
        int  # spans that no processor, or not each, could count: the record's content does not fit, or a fault of ours
    )
    edges_waiting: int
    edges_expired: int
    edges_unpaired: int
    edges_dropped: int
    active_entities: int = 0  # label sets, each with all of its series
    label_overflowed: int = 0  # values of labels that became __cardinality_overflow__, of spans and unpaired spans
    outside_slack: int = 0  # spans left out because they ended too long before, or after, they came
    edges: int = 0  # counted, of the service graph


class TenantGenerator:
    """Counts a tenant's spans. Not thread-safe."""

    def __init__(self, config: GeneratorConfig) -> None:
        self._config = config
        self._resources = Resources()
        tables, values_max = _table_config(config), config.max_cardinality_per_label
        wanted = config.processors
        self._spans = SpanMetrics(config.span_metrics, tables, values_max) if SPAN_METRICS in wanted else None
        self._graph = ServiceGraphs(config.service_graphs, tables, values_max) if SERVICE_GRAPHS in wanted else None
        self._failed = self._outside_slack = 0
        self._waiting: dict[int, _PendingRecords] = {}
        self._processors = [one for one in (self._spans, self._graph) if one is not None]

    def add(self, partition: int, spans: pa.RecordBatch, time_ms: int, now_s: float, offset: int = -1) -> None:
        """Adds a tenant's rows of a record.

        time_ms: Kafka's timestamp of the record; now_s: our time; offset: for the log
        """
        inside = self._inside_slack(spans, time_ms)
        self._outside_slack += len(spans) - len(inside)
        spans = inside
        waiting = self._waiting.setdefault(partition, _PendingRecords([]))
        waiting.taken.append(_Taken(spans, time_ms, offset))
        waiting.rows += len(spans)
        if len(waiting.taken) >= _RECORDS_AT_ONCE or waiting.rows >= _ROWS_AT_ONCE:
            self._add_waiting(partition, now_s)

    def _add_waiting(self, partition: int, now_s: float) -> None:
        """Reads records with the same columns together. If that fails, it reads each alone, so that only the bad one is
        lost.

        It counts nothing before everything is read, so that a second attempt counts nothing twice.
        """
        for alike in _alike(self._waiting.pop(partition).taken):
            read: list[tuple[Any, Any]]
            try:
                batches = [Batch(spans, self._resources, times_ms) for spans, times_ms in _joined(alike)]
                read = [(one, one.prepare(batch)) for batch in batches for one in self._processors]
            except BaseException as err:
                if not is_fault(err):
                    raise
                read = [pair for record in alike for pair in self._read_alone(partition, record)]
            rows = sum(len(record.spans) for record in alike)
            for processor, prepared in read:
                self._share_limit()
                with self._wall(rows, f"some of {rows} spans of partition {partition}"):
                    processor.add(partition, prepared, now_s)

    def _read_alone(self, partition: int, record: _Taken) -> list[tuple[Any, Any]]:
        """What each processor can read of one record."""
        read: list[tuple[Any, Any]] = []
        rows = len(record.spans)
        place = f"{rows} spans of partition {partition}, offset {record.offset},"
        with self._wall(rows, place):
            batch = Batch(record.spans, self._resources, record.time_ms)
            for one in self._processors:
                with self._wall(rows, place):
                    read.append((one, one.prepare(batch)))
        return read

    @contextmanager
    def _wall(self, rows: int, what: str) -> Iterator[None]:
        """Catches any error that some spans cause, so that the others are counted."""
        try:
            yield
        except BaseException as err:
            if not is_fault(err):
                raise
            log.exception("%s cannot be counted", what)
            self._failed += rows

    def _inside_slack(self, spans: pa.RecordBatch, time_ms: int) -> pa.RecordBatch:
        """The spans that ended at most the slack before or after Kafka received the record: the same ones after a
        restart.
        """
        slack_ns = round(self._config.ingestion_time_range_slack_s * 1e9)
        if not slack_ns:
            return spans
        starts_ns = numbers(spans.column("start_ns"))
        ends_ns = starts_ns + elapsed_ns(starts_ns, numbers(spans.column("duration_ns")))
        came_ns = min(max(time_ms * 1_000_000, _INT64.min), _INT64.max)  # a producer may say any time
        inside = np.abs(ends_ns - came_ns) <= slack_ns
        return spans if inside.all() else spans.filter(pa.array(inside))

    def recall(self, partition: int, spans: pa.RecordBatch, time_ms: int) -> None:
        """Adds rows that were counted before a restart, for the edges whose other side is still missing."""
        if self._graph is not None:
            try:
                batch = walled(Batch, self._inside_slack(spans, time_ms), self._resources, time_ms)
                walled(self._graph.recall, partition, batch)
            except Exception:  # as above; they were counted, or not, when they were read first
                log.exception("%d spans of partition %d cannot be looked at again", len(spans), partition)

    def recalled(self, partition: int, clock_ms: int) -> None:
        """Ends the recall. clock_ms: the time up to which unpaired spans had waited"""
        if self._graph is not None:
            self._graph.recalled(partition, clock_ms)

    def idle(self, partition: int, clock_ms: int) -> None:
        """No record arrived in the partition until clock_ms."""
        if self._graph is not None:
            self._graph.idle(partition, clock_ms)

    def forget(self, partition: int) -> None:
        """The partition belongs to another worker now. Drops what it added since the last collection."""
        self._waiting.pop(partition, None)
        for processor in self._processors:
            processor.forget(partition)

    def collect(self, now_s: float) -> list[Snapshot]:
        """Snapshots of everything counted so far."""
        for partition in list(self._waiting):
            self._add_waiting(partition, now_s)
        snapshots: list[Snapshot] = []
        for processor in self._processors:
            self._share_limit()
            while processor.pending:
                with self._wall(processor.pending, f"some of {processor.pending} spans"):
                    processor.flush(now_s)
            snapshots += processor.collect(now_s, self._config.stale_duration_s)
        return snapshots

    def adopt(self, config: GeneratorConfig) -> bool:
        """Continues with new limits. False: with this configuration the counters would have another meaning."""
        if fingerprint(config) != fingerprint(self._config):
            return False
        self._config = config
        return True

    def successor(self, config: GeneratorConfig) -> tuple["TenantGenerator", list[bool]]:
        """A generator with another configuration, made right after `collect`. It takes over the processors that count
        as before. Also returns, for each snapshot of that collection, whether its processor continues. Do not use
        this object any more.
        """
        after, before = TenantGenerator(config), self._config
        keeps = _table_config(config) == _table_config(before)
        keeps &= config.max_cardinality_per_label == before.max_cardinality_per_label
        went_on: list[bool] = []
        if self._spans is not None:
            kept = keeps and after._spans is not None and config.span_metrics == before.span_metrics
            after._spans = self._spans if kept else after._spans
            went_on += [kept] * len(self._spans.tables)
        if self._graph is not None:
            kept = keeps and after._graph is not None and config.service_graphs == before.service_graphs
            after._graph = self._graph if kept else after._graph
            went_on += [kept] * len(self._graph.tables)
        after._processors = [one for one in (after._spans, after._graph) if one is not None]
        return after, went_on

    def saved(self) -> Tree:
        """A copy of the counters right after `collect`, for `restore`."""
        spans, graph = self._spans, self._graph
        return {
            "spans": None if spans is None else spans.saved(),
            "graph": None if graph is None else graph.saved(),
        }

    def restore(self, saved: Tree) -> None:
        """Continues from `saved`, with the same configuration. Call it before anything else."""
        if self._spans is not None:
            self._spans.restore(saved["spans"])
        if self._graph is not None:
            self._graph.restore(saved["graph"])

    def stats(self) -> TenantStats:
        """The current stats of the tenant."""
        tables, graph = self._tables(), self._graph
        return TenantStats(
            active_series=sum(table.active for table in tables),
            overflowed=sum(table.overflowed for table in tables),
            filtered=0 if self._spans is None else self._spans.filtered,
            failed=self._failed,
            edges_waiting=0 if graph is None else graph.items,
            edges_expired=0 if graph is None else graph.expired,
            edges_unpaired=0 if graph is None else graph.unpaired,
            edges_dropped=0 if graph is None else graph.dropped,
            active_entities=sum(map(len, tables)),
            label_overflowed=sum(one.label_overflowed for one in self._processors),
            outside_slack=self._outside_slack,
            edges=0 if graph is None else graph.edges,
        )

    def _tables(self) -> list[SeriesTable]:
        return [table for one in self._processors for table in one.tables]

    def _share_limit(self) -> None:
        """Shares max_active_series, or max_active_entities, among all tables."""
        config, tables = self._config, self._tables()
        by_series = config.max_active_series if config.limiter_type == "series" else 0
        by_rows = config.max_active_entities if config.limiter_type == "entity" else 0
        series, rows = sum(table.active for table in tables), sum(map(len, tables))
        for table in tables:
            table.series_max = by_series - (series - table.active) if by_series else None
            table.rows_max = by_rows - (rows - len(table)) if by_rows else None


def _table_config(config: GeneratorConfig) -> TableConfig:
    kinds = config.generate_native_histograms
    return TableConfig(
        external_labels=config.external_labels,
        classic=kinds != "native",
        native=kinds != "classic",
        native_bucket_factor=config.native_histogram_bucket_factor,
        native_buckets_max=config.native_histogram_max_bucket_number,
        trace_id_label=config.trace_id_label_name if config.exemplars else "",
    )


def _alike(taken: list[_Taken]) -> list[list[_Taken]]:
    """Groups records by their columns."""
    alike: list[tuple[pa.Schema, list[_Taken]]] = []
    for one in taken:
        schema = one.spans.schema
        # Few schemas differ. Dictionary keys would be hashed, which takes longer than everything else here.
        group = next((group for known, group in alike if known.equals(schema)), None)
        if group is None:
            alike.append((schema, [one]))
        else:
            group.append(one)
    return [group for _, group in alike]


def _joined(alike: list[_Taken]) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]:
    """Joins records with the same columns to one batch, with the timestamp of each row."""
    # Arrow's own pool returns memory so early that most of the time went into getting it again.
    pool = pa.system_memory_pool()
    batches = [one.spans for one in alike]
    times_ms = np.repeat([one.time_ms for one in alike], [len(spans) for spans in batches])
    joined = batches
    if len(batches) > 1:
        table = pa.Table.from_batches(batches)
        table = table.select([name for name in table.column_names if name in _NEEDED])
        # More distinct values than the batches' small dictionary indices can number cannot be joined.
        with suppress(pa.ArrowException):
            joined = table.combine_chunks(memory_pool=pool).to_batches()
    first = 0
    for spans in joined:
        yield spans, times_ms[first : first + len(spans)]
        first += len(spans)
