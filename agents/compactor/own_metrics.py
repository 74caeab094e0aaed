"""Metrics of the compactor. Those named tempodb_… are Tempo's, so that its dashboards and alerts work."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from tables.native_histogram import NativeHistogram

JOBS: Final = Counter(
    "stretto_compaction_jobs_total",
    "Jobs of the compactor, by outcome: done, stale (its blocks were merged or deleted meanwhile), given_up (after "
    "several failures; the leader plans it again later).",
    ["outcome"],
)
JOBS_SKIPPED: Final = Counter(
    "stretto_compaction_jobs_skipped_total", "Records of the topic of jobs that this build cannot read."
)
JOBS_RUNNING: Final = Gauge("stretto_compaction_jobs_running", "Jobs that run now in this process.")
JOBS_QUEUED: Final = Gauge("stretto_compaction_jobs_queued", "Jobs that the leader has planned and that are not done.")
JOB_FAILURES: Final = Counter("stretto_compaction_job_failures_total", "Failed attempts of jobs; most are repeated.")
JOB_SECONDS: Final = Histogram(
    "stretto_compaction_seconds", "Time that a merge takes.", buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
)
BLOCKS: Final = Counter(
    "tempodb_compaction_blocks_total", "Blocks that were merged into others, by their level.", ["level"]
)
SPANS: Final = Counter("stretto_compaction_spans_total", "Spans written to merged blocks.")
BYTES: Final = Counter(
    "tempodb_compaction_bytes_written_total", "Bytes written to merged blocks, by the level of their inputs.", ["level"]
)
OUTPUT_BYTES: Final = Histogram(
    "tempodb_compaction_output_block_size_bytes",
    "Bytes of a merged block.",
    buckets=[float(4**power << 20) for power in range(8)],
)
RETENTION_SECONDS: Final = NativeHistogram(
    "tempodb_retention_duration_seconds",
    "Time that hiding and deleting old blocks of all tenants takes in a cycle of the leader.",
    buckets=(0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
)
ERRORS: Final = Counter(
    "tempodb_compaction_errors_total", "Failures of the leader of compactors: storage or Kafka away, damaged indexes."
)
OUTSTANDING: Final = Gauge(
    "tempodb_compaction_outstanding_blocks", "Blocks that are to be merged, as the leader knows.", ["tenant"]
)
DAMAGED: Final = Counter(
    "stretto_compaction_damaged_blocks_total", "Blocks that a merge left out because they are missing or damaged."
)
VISIBLE: Final = Gauge("stretto_compaction_visible_blocks", "Blocks of a tenant that queries see.", ["tenant"])
MARKED: Final = Counter(
    "tempodb_retention_marked_for_deletion_total", "Blocks that were hidden because their retention is over."
)
DELETED: Final = Counter(
    "tempodb_retention_deleted_total", "Blocks whose objects were deleted: merged, or older than their retention."
)
RETENTION_ERRORS: Final = Counter(
    "tempodb_retention_errors_total", "Deletions that failed; they are tried again in the next cycle."
)
CUTS_DELETED: Final = Counter("stretto_cuts_deleted_total", "Cuts and checkpoints that were deleted.")
CHECKPOINTS: Final = Counter("stretto_checkpoints_written_total", "Checkpoints of partitions that were written.")
FILTER_PACKS: Final = Counter(
    "stretto_filter_packs_written_total", "Objects that were written with the filters of trace ids of many blocks."
)
ORPHANS: Final = Counter(
    "stretto_orphaned_blocks_total", "Folders in blocks/ that belonged to nothing, which were deleted."
)
MISSING: Final = Gauge("stretto_missing_blocks", "Blocks whose objects were missing at the last listing of all blocks.")
LAST_CYCLE: Final = Gauge(
    "stretto_compaction_last_cycle_timestamp_seconds",
    "Unix time at which this process last ended a cycle of the leader: merges planned, old blocks deleted. 0: never.",
)
LEADER: Final = Gauge("stretto_compaction_leader", "Whether this process plans merges (1) or not (0).")
