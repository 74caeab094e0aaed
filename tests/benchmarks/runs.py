"""A run of the benchmark that went well."""

from benchmarks.load import Loaded
from benchmarks.report import Run

LOADED = Loaded(
    requests=1954,
    bytes=360_000_000,
    wall_s=8.0,
    loader_cpu_s=1.5,
    errors=0,
    rejected_spans=0,
    ack_ms={"p50": 25.0, "p90": 40.0, "p99": 67.0, "max": 90.0},
)
RUN = Run(
    date="2026-11-21T12:00:00+00:00",
    commit="abc1234",
    cores=2,
    load_average=0.1,
    workload="w.otlp",
    spans=1_000_000,
    spans_per_request=512,
    in_flight=8,
    tenants=0,
    rate=None,
    loaded=LOADED,
    received=1_000_000,
    cpu_s={"supervisor": 0.1, "worker": 11.4, "kafka": 0.5},
    peak_bytes={"supervisor": 40_000_000, "worker": 495_000_000, "kafka": 330_000_000},
    kafka_bytes_per_span=67.04,
    parquet_bytes_per_span=38.2,
    fresh_ms={"p50": 60.0, "p90": 100.0, "p99": 200.0, "max": 300.0},
    probes_lost=0,
    ready_s=7.5,
    searchable_lag_s=0.3,
    flushed_lag_s=61.0,
)
