"""The metrics of one tenant: its processors, its limits, and what a push of it says."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.generator.batch import Batch, Resources
from tables.generator.config import SERVICE_GRAPHS, SPAN_METRICS, GeneratorConfig
from tables.generator.series import SeriesTable, Snapshot
from tables.generator.service_graph import ServiceGraphs
from tables.generator.span_metrics import SpanMetrics
from tables.generator.write_request import requests

log = logging.getLogger(__name__)

# Small records are joined: each costs half a millisecond alone, a tenth in company.
_ROWS_AT_ONCE: Final = 8192
_RECORDS_AT_ONCE: Final = 64
_NEEDED: Final = (
    *("trace_id", "span_id", "parent_span_id", "name", "kind", "start_ns", "duration_ns", "status_code"),
    *("status_message", "attributes", "resource", "flags", "trace_state", "events", "links"),
)
_Taken = tuple[pa.RecordBatch, int]  # and when its record came to Kafka


@dataclass(frozen=True, slots=True)
class Figures:
    """How a tenant does. Counts are since its first span."""

    active_series: int
    overflowed: float  # spans and edges counted under the label metric_overflow
    filtered: int  # spans that filter policies left out of the span metrics
    failed: int  # spans whose content no processor, or not each, could count: a fault of ours
    edges_waiting: int
    edges_expired: int
    edges_unpaired: int
    edges_dropped: int


class TenantGenerator:
    """Counts a tenant's spans. For one thread."""

    def __init__(self, config: GeneratorConfig) -> None:
        self._config = config
        self._resources = Resources()
        external, values_max = config.external_labels, config.max_cardinality_per_label
        wanted = config.processors
        self._spans = SpanMetrics(config.span_metrics, external, values_max) if SPAN_METRICS in wanted else None
        self._graph = ServiceGraphs(config.service_graphs, external, values_max) if SERVICE_GRAPHS in wanted else None
        self._failed = 0
        self._waiting: dict[int, list[_Taken]] = {}
        self._processors = [one for one in (self._spans, self._graph) if one is not None]

    def add(self, partition: int, spans: pa.RecordBatch, time_ms: int, now_s: float) -> None:
        """Takes a tenant's rows of a record. time_ms: when the record came to Kafka; now_s: the clock here."""
        waiting = self._waiting.setdefault(partition, [])
        waiting.append((spans.select([name for name in spans.schema.names if name in _NEEDED]), time_ms))
        if len(waiting) >= _RECORDS_AT_ONCE or sum(len(one) for one, _ in waiting) >= _ROWS_AT_ONCE:
            self._add_waiting(partition, now_s)

    def _add_waiting(self, partition: int, now_s: float) -> None:
        self._share_limit()
        for spans, times_ms in _joined(self._waiting.pop(partition, [])):
            batch = Batch(spans, self._resources, times_ms)
            for processor in self._processors:
                try:
                    processor.add(partition, batch, now_s)
                except Exception:  # whatever a record's content does to the code, the others must come through
                    log.exception("%d spans of partition %d cannot be counted", len(spans), partition)
                    self._failed += len(spans)

    def recall(self, partition: int, spans: pa.RecordBatch, time_ms: int) -> None:
        """Takes rows that were counted before a restart, for the edges that they are a half of."""
        if self._graph is not None:
            self._graph.recall(partition, Batch(spans, self._resources, time_ms))

    def recalled(self, partition: int, clock_ms: int) -> None:
        """All of the past was recalled; clock_ms: until when halves had waited then."""
        if self._graph is not None:
            self._graph.recalled(partition, clock_ms)

    def idle(self, partition: int, clock_ms: int) -> None:
        """Nothing more came to the partition until then."""
        if self._graph is not None:
            self._graph.idle(partition, clock_ms)

    def forget(self, partition: int) -> None:
        """The partition is another worker's now: what was not collected of it is dropped."""
        self._waiting.pop(partition, None)
        for processor in self._processors:
            processor.forget(partition)

    def collect(self, now_s: float) -> list[Snapshot]:
        """Everything counted so far."""
        for partition in list(self._waiting):
            self._add_waiting(partition, now_s)
        stale_after_s = self._config.stale_duration_s
        return [part for one in self._processors for part in one.collect(now_s, stale_after_s)]

    def figures(self) -> Figures:
        """How it does."""
        tables, graph = self._tables(), self._graph
        return Figures(
            active_series=sum(table.active for table in tables),
            overflowed=sum(table.overflowed for table in tables),
            filtered=0 if self._spans is None else self._spans.filtered,
            failed=self._failed,
            edges_waiting=0 if graph is None else graph.items,
            edges_expired=0 if graph is None else graph.expired,
            edges_unpaired=0 if graph is None else graph.unpaired,
            edges_dropped=0 if graph is None else graph.dropped,
        )

    def _tables(self) -> list[SeriesTable]:
        return [table for one in self._processors for table in one.tables]

    def _share_limit(self) -> None:
        """All tables together hold max_active_series."""
        most = self._config.max_active_series
        if not most:
            return
        tables = self._tables()
        active = sum(table.active for table in tables)
        for table in tables:
            table.series_max = max(1, most - (active - table.active))


def _joined(taken: list[_Taken]) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.int64]]]:
    """Records of the same columns as one batch, with the time of each row."""
    alike: dict[pa.Schema, list[_Taken]] = {}
    for one in taken:
        alike.setdefault(one[0].schema, []).append(one)
    for group in alike.values():
        batches = [spans for spans, _ in group]
        times_ms = np.repeat([time_ms for _, time_ms in group], [len(spans) for spans in batches])
        try:
            joined = pa.Table.from_batches(batches).combine_chunks().to_batches() if len(batches) > 1 else batches
        except pa.ArrowException:  # more distinct values than the batches' small dictionary indices can number
            joined = batches
        first = 0
        for spans in joined:
            yield spans, times_ms[first : first + len(spans)]
            first += len(spans)


def encoded(snapshots: list[Snapshot], time_ms: int, created_ms: int, series_max: int = 5_000) -> Iterator[bytes]:
    """The remote-write requests of a push, uncompressed."""
    for part in snapshots:
        yield from requests(part.heads, part.values, part.created, part.stale, time_ms, created_ms, series_max)
