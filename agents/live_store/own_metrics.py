"""The live store's metrics, its own and those of Tempo: what Tempo calls a block of a live store is a segment here."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from tables.live.segment_table import SegmentInfo
from tables.live.shared_records import HeadRecord
from tables.live.store import LiveStore
from tables.native_histogram import NativeHistogram
from tables.tenant_labels import TenantLabels

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES: Final = tuple(float(4**power << 10) for power in range(10))  # 1 KiB to 256 MiB

APPENDED = Counter("stretto_live_store_spans_appended_total", "Spans appended to the live store. They are searchable.")
REDELIVERED = Counter(
    "stretto_live_store_records_redelivered_total",
    "Redelivered records that were skipped because the live store already has them.",
)
SEAL_WAITS = Counter("stretto_live_store_seal_waits_total", "Times that consumption paused until heads were sealed.")
DISK_WAITS = Counter(
    "stretto_live_store_disk_waits_total", "Times that consumption paused until segments were written to blocks."
)
EARLY_SEALS = Counter(
    "stretto_live_store_early_seals_total",
    "Early seals of a partition, because the heads exceeded live_store.head_bytes_max.",
)
HEAD_BYTES = Gauge("stretto_live_store_head_bytes", "Bytes of the records in open heads.")
SEGMENT_BYTES = Gauge("stretto_live_store_segment_bytes", "Bytes of segments that are not in blocks yet.")
GAPS = Counter(
    "stretto_live_store_offset_gaps_total", "Offsets that were missed because the topic no longer holds them."
)
PENDING = Gauge("stretto_live_store_pending_spans", "Spans that wait to be sealed.")
HEAD_SPANS = Gauge("stretto_live_store_head_spans", "Spans in open heads.")
FAILURES = Counter(
    "stretto_live_store_failures_total", "Failed seals, offset writes and loads of segments; they are retried."
)

# ---- under Tempo's names

RECORDS: Final = Counter(
    "tempo_live_store_records_processed_total",
    "Records of topic spans that were taken, by tenant; a shared one counts for each of its tenants.",
    ["tenant"],
)
RECEIVED: Final = Counter(
    "tempo_live_store_bytes_received_total",
    "Bytes of records that were taken, by tenant, as they are in Kafka; data_type is trace.",
    ["tenant", "data_type"],
)
TRACE_BYTES: Final = Gauge(
    "tempo_live_store_live_trace_bytes", "Bytes of records in open heads, by tenant.", ["tenant"]
)
COMPLETED: Final = Counter("tempo_live_store_blocks_completed_total", "Segments sealed.")
COMPLETION_SECONDS: Final = NativeHistogram(
    "tempo_live_store_completion_duration_seconds", "Time that sealing a segment takes.", buckets=_SECONDS
)
COMPLETION_BYTES: Final = Histogram(
    "tempo_live_store_completion_size_bytes", "Bytes of a sealed segment.", buckets=_BYTES
)
COMPLETION_RETRIES: Final = Counter("tempo_live_store_completion_retries_total", "Seals that were tried again.")
COMPLETIONS_FAILED: Final = Counter(
    "tempo_live_store_failed_completions_total", "Attempts of seals that failed; each is repeated."
)
QUEUE: Final = Gauge("tempo_live_store_complete_queue_length", "Heads and records of heads that wait to be sealed.")
FLUSHED: Final = Counter("tempo_live_store_local_blocks_flushed_total", "Blocks written and made visible.")
FLUSH_SECONDS: Final = NativeHistogram(
    "tempo_live_store_local_flush_duration_seconds",
    "Time from a cut until its blocks are visible, with all retries.",
    buckets=(*_SECONDS, 120, 300),
)
FLUSH_BYTES: Final = Histogram(
    "tempo_live_store_local_flush_size_bytes", "Bytes of a flushed block.", buckets=(*_BYTES, float(1 << 30))
)
FLUSHES_FAILED: Final = Counter(
    "tempo_live_store_local_failed_flushes_total", "Attempts of flushes that failed; each is repeated."
)
CLEARED: Final = Counter(
    "tempo_live_store_blocks_cleared_total",
    "Segments deleted from local disk after they were in blocks; block_type is complete.",
    ["block_type"],
)
OWNED: Final = Gauge(
    "tempo_live_store_partition_owned", "1 for each partition that this process has.", ["partition", "zone"]
)
READY: Final = Gauge("tempo_live_store_ready", "Whether the live store answers for all its partitions (1) or not (0).")
CATCH_UP: Final = Gauge(
    "tempo_live_store_catch_up_duration_seconds", "Time from the first assignment until the live store was ready."
)
PRESSURE_SECONDS: Final = Counter(
    "tempo_live_store_back_pressure_seconds_total",
    "Time that consumption paused, by reason: completion (heads wait to be sealed), disk (segments wait to be in "
    "blocks).",
    ["reason"],
)
PRESSURE: Final = Histogram(
    "tempo_live_store_back_pressure_duration_seconds", "Time that one such pause took.", buckets=_SECONDS
)
LAGGED: Final = Counter(
    "tempo_live_store_lagged_requests_total",
    "Questions for a partition that was behind what Kafka has, by route of the question.",
    ["route"],
)


@contextmanager
def back_pressure(reason: str) -> Iterator[None]:
    """Around a pause of consumption."""
    start_s = time.perf_counter()
    try:
        yield
    finally:
        took_s = time.perf_counter() - start_s
        PRESSURE_SECONDS.labels(reason).inc(took_s)
        PRESSURE.observe(took_s)


class LiveMetrics:
    """One for a process; belongs to its event loop. It keeps the series, since looking one up costs more than
    counting.
    """

    def __init__(self, zone: str, clock: Callable[[], float] = time.monotonic) -> None:
        """zone: of this live store. clock: seconds"""
        self._zone, self._clock = zone, clock
        self._labels = TenantLabels()
        self._series: dict[str, tuple[Counter, Counter]] = {}
        self._taken: dict[str, tuple[int, int]] = {}  # by tenant records and bytes that the series do not have yet
        self._heads: dict[str, Gauge] = {}
        self._owned: set[int] = set()
        self._since_s: float | None = None
        self._was_ready = False

    def took(self, parts: Sequence[tuple[str, HeadRecord]]) -> None:
        """Counts a record that was appended, which has parts of tenants. The series of tenants have it after `show`:
        counting there costs as much as appending, and a record may have many tenants.
        """
        taken, none = self._taken, (0, 0)
        for tenant, record in parts:
            records, size_bytes = taken.get(tenant, none)
            taken[tenant] = records + 1, size_bytes + record.size_bytes
        APPENDED.inc(sum([record.spans for _, record in parts]))

    def _count_taken(self) -> None:
        taken, self._taken = self._taken, {}
        for tenant, (records, size_bytes) in taken.items():
            label = self._labels.of(tenant)
            series = self._series.get(label)
            if series is None:
                series = self._series[label] = RECORDS.labels(label), RECEIVED.labels(label, "trace")
            series[0].inc(records)
            series[1].inc(size_bytes)

    def sealed(self, info: SegmentInfo | None) -> None:
        """A head became a segment; None: nothing of it could be read."""
        if info is not None:
            COMPLETED.inc()
            COMPLETION_BYTES.observe(info.size_bytes)

    def show(self, store: LiveStore, *, ready: bool) -> None:
        """Once a second: what is there now, and what came since."""
        self._count_taken()
        if self._since_s is None:
            self._since_s = self._clock()
        READY.set(ready)
        if ready and not self._was_ready:
            self._was_ready = True
            CATCH_UP.set(self._clock() - self._since_s)
        QUEUE.set(sum(len(state.sealing) for state in store.partitions.values()))
        mine = set(store.partitions)
        for number in mine - self._owned:
            OWNED.labels(str(number), self._zone).set(1)
        for number in self._owned - mine:
            OWNED.remove(str(number), self._zone)
        self._owned = mine
        self._show_heads(store)

    def _show_heads(self, store: LiveStore) -> None:
        states = store.partitions.values()
        HEAD_BYTES.set(sum(state.head_bytes for state in states))
        PENDING.set(sum(state.pending_spans for state in states))
        HEAD_SPANS.set(sum(state.head_spans for state in states))
        found: dict[str, int] = {}
        for state in states:
            for tenant, size_bytes in state.bytes_by_tenant():
                label = self._labels.of(tenant)
                found[label] = found.get(label, 0) + size_bytes
        for label in self._heads.keys() - found.keys():
            TRACE_BYTES.remove(label)
            del self._heads[label]
        for label, size_bytes in found.items():
            gauge = self._heads.get(label)
            if gauge is None:
                gauge = self._heads[label] = TRACE_BYTES.labels(label)
            gauge.set(size_bytes)
