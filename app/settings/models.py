"""The settings: names, types, ranges, defaults. Names are Tempo's where the concept is the same.

Our own names end with the unit. Every setting has a description; docs/settings.md consists of them.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from app.settings.base import Section, conflict
from app.settings.cache import Cache
from app.settings.compactor import Compactor
from app.settings.generator import MetricsGenerator
from app.settings.kafka import Kafka
from app.settings.overrides import Overrides
from app.settings.receivers import Receivers
from app.settings.server import Server
from app.settings.storage import Storage
from app.settings.ui import Ui
from app.settings.values import (
    KIB,
    MIB,
    Bytes,
    BytesOrZero,
    Count,
    CountOrZero,
    Folder,
    Seconds,
    SecondsOrZero,
)


class Batch(Section):
    """How requests are batched into a few large Kafka records."""

    window_ms: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=60,
        description="Longest time, in milliseconds, that a request waits for other requests to share a Kafka "
        "record. A higher value saves CPU and adds latency for clients.",
    )
    bytes_max: Bytes = Field(
        default=1_500_000,
        description="Size of a batch, in bytes of requests, at which it is sent without further waiting.",
    )


class Input(Section):
    """Limits of all requests together, in memory and CPU time."""

    bytes_max: Bytes = Field(
        default=256 * MIB,
        description="Memory for requests, in bytes, over all receivers and connections: requests that are being "
        "read, decompressed or decoded from JSON, or wait for Kafka's acknowledgement. Above it "
        "clients get an error that they may retry.",
    )
    tenant_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5,
        description="Largest share of `distributor.input.bytes_max` for the requests of one tenant, from 0 to 1. "
        "Without `multitenancy_enabled` the single tenant may use all of it.",
    )
    body_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2,
        description="Threads that decompress request bodies. Large bodies take turns; small ones do not wait.",
    )
    body_cpu_s_max: Seconds = Field(
        default=5,
        description="CPU seconds that a request may take for decompression, and again for parsing its JSON. 100 MB "
        "of gzip with ordinary spans takes about one second. A request that takes longer is refused.",
    )
    members_max: Count = Field(
        default=4096,
        description="Most members (concatenated gzip streams) in one gzip body. A body with more is refused.",
    )
    ratio_max: Count = Field(
        default=2000,
        description="Largest compression ratio of a body that exceeds 1 MiB when decompressed. A body with a "
        "higher ratio is refused.",
    )


class Distributor(Section):
    receivers: Receivers = Receivers()
    batch: Batch = Batch()
    input: Input = Input()
    decode_s_max: Seconds = Field(
        default=10,
        description="CPU seconds that decoding a request may take. 100 MB of ordinary spans takes about one "
        "second. A request that takes longer is refused.",
    )
    max_attribute_bytes: Annotated[int, Field(ge=256, le=16 * MIB)] = Field(
        default=64 * KIB,
        description="Longest key or value of an attribute, in bytes. Longer ones are truncated, and counted in "
        "stretto_attribute_values_cut_total.",
    )

    @model_validator(mode="after")
    def _largest_request_fits(self) -> Self:
        protocols = self.receivers.otlp.protocols
        sizes = {
            "receivers.otlp.protocols.grpc.max_recv_msg_size_mib": protocols.grpc.max_recv_msg_size_mib * MIB,
            "receivers.otlp.protocols.http.max_request_body_size": protocols.http.max_request_body_size,
            "batch.bytes_max": self.batch.bytes_max,
        }
        most = int(self.input.bytes_max * self.input.tenant_share)
        for key, size_bytes in sizes.items():
            # Compressed and decompressed together.
            if 2 * size_bytes > most:
                raise conflict(
                    key,
                    f"twice {size_bytes} bytes are more than a tenant's share of distributor.input.bytes_max ({most}); "
                    "make this one smaller or that one larger",
                    "input.bytes_max",
                )
        return self


class LiveStore(Section):
    """Recent spans: when heads become segments, when segments become blocks, and their limits."""

    segment_rows_max: Count = Field(
        default=65_536, description="Number of spans at which a partition's head is sealed into a segment."
    )
    segment_age_s: Seconds = Field(
        default=30, description="Seconds after which a head is sealed into a segment, full or not."
    )
    block_age_s: Seconds = Field(
        default=300, description="Seconds after which the segments of a partition are written as a block."
    )
    block_rows_max: Count = Field(
        default=2_000_000, description="Number of spans at which the segments of a partition are written as a block."
    )
    pending_rows_max: Count = Field(
        default=400_000,
        description="Most spans in heads that wait to be sealed. Above it the live store stops reading from Kafka.",
    )
    head_bytes_max: Bytes = Field(
        default=256 * MIB,
        description="Memory for the records in heads, in bytes. Above it the fullest partition is sealed early.",
    )
    segment_bytes_max: Bytes = Field(
        default=32 * 1024 * MIB,
        description="Disk space, in bytes, for segments that are not in blocks yet. Above it, for example in a "
        "long outage of object storage, the live store stops reading from Kafka and /ready reports it.",
    )
    head_reuse_ms: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=100,
        description="How long, in milliseconds, consecutive searches may reuse the decoded head. New spans may "
        "appear in searches later by this time; a lookup by trace id is never delayed.",
    )
    segment_cache_bytes_max: Bytes = Field(
        default=128 * MIB,
        description="Memory, in bytes, for a cache of segments in front of RocksDB, which makes queries fast.",
    )
    flushed_retention_s: Seconds = Field(
        default=60,
        description="Seconds for which segments are kept after their block is written, for readers that do not "
        "know the block yet. At least two `storage.trace.blocklist_poll_s`.",
    )
    local_copy_bytes_max: BytesOrZero = Field(
        default=2048 * MIB,
        description="Disk space, in bytes, for the newest segments that are in blocks already. Queries read them "
        "instead of object storage, also during its outages. With `storage.trace.backend` local the "
        "default is 0.",
    )

    @model_validator(mode="after")
    def _blocks_hold_segments(self) -> Self:
        pairs = (
            ("block_age_s", "segment_age_s"),
            ("block_rows_max", "segment_rows_max"),
            ("pending_rows_max", "segment_rows_max"),
        )
        for larger, smaller in pairs:
            least = getattr(self, smaller)
            if getattr(self, larger) < least:
                raise conflict(larger, f"must not be less than live_store.{smaller} ({least:g})", smaller)
        return self


class Search(Section):
    default_result_limit: Count = Field(
        default=20, description="Number of traces in an answer if the query sets no limit."
    )
    max_result_limit: CountOrZero = Field(
        default=0, description="Largest limit that a query may set, in traces. 0: no maximum."
    )
    max_duration_s: SecondsOrZero = Field(
        default=7 * 24 * 3600,
        description="Longest time range of a search, in seconds between start and end. 0: no maximum.",
    )
    default_spans_per_span_set: Count = Field(
        default=3, description="Spans returned per span set if the query does not set `spss`."
    )
    max_spans_per_span_set: CountOrZero = Field(
        default=0, description="Largest `spss` that a query may set, in spans. 0: no maximum."
    )

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> Self:
        pairs = (
            ("max_result_limit", "default_result_limit"),
            ("max_spans_per_span_set", "default_spans_per_span_set"),
        )
        for most, default in pairs:
            if 0 < getattr(self, most) < getattr(self, default):
                text = f"must be 0 or at least query_frontend.search.{default} ({getattr(self, default)})"
                raise conflict(most, text, default)
        return self


class MetricsQueries(Section):
    max_duration_s: SecondsOrZero = Field(
        default=7 * 24 * 3600,
        description="Longest time range of a metrics query, in seconds between start and end. 0: no maximum.",
    )


class TraceById(Section):
    max_bytes_per_trace: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=32 * MIB,
        description="Largest trace that is returned whole, in bytes as OTLP. A larger trace is read in pages of at "
        "most this size. 0: no maximum.",
    )
    max_spans_per_page: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Most spans in a page of a trace; also the default if the query sets no limit."
    )


class QueryFrontend(Section):
    max_query_expression_size_bytes: Annotated[int, Field(ge=1, le=16 * MIB)] = Field(
        default=128 * KIB, description="Longest TraceQL query, in bytes. A longer one is refused."
    )
    search: Search = Search()
    metrics: MetricsQueries = MetricsQueries()
    trace_by_id: TraceById = TraceById()


class Query(Section):
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=2,
        description="Threads that evaluate queries: the number of CPU cores that queries may use. The same number "
        "of other threads writes the answers.",
    )
    niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        default=0,
        description="Niceness of the query threads, as of the command `nice` (Linux only). 10 acknowledges spans "
        "sooner where CPUs are idle. Where other programs want all CPUs, a niced thread holds the GIL without a CPU, "
        "and everything else in the process waits up to 0.4 s.",
    )
    concurrent_max: Count = Field(
        default=20, description="Queries that run at once. As many again may wait; more are refused."
    )
    timeout_s: Seconds = Field(default=60, description="Seconds after which a query is cancelled.")
    memory_bytes_max: Annotated[int, Field(ge=4 * MIB, le=1024**4)] = Field(
        default=256 * MIB,
        description="Memory that one query may use, in bytes by estimate, its answer included. A query that needs "
        "more is refused with 422, and the error says what would need less.",
    )
    memory_total_bytes_max: Annotated[int, Field(ge=4 * MIB, le=1024**4)] = Field(
        default=384 * MIB,
        description="Memory that all queries may use together, in bytes, without the first 4 MiB of each. A query "
        "that needs more is refused with 429.",
    )
    column_cache_bytes_max: Bytes = Field(
        default=384 * MIB, description="Memory, in bytes, for the cache of decoded columns."
    )
    small_file_cache_bytes_max: Bytes = Field(
        default=64 * MIB,
        description="Memory, in bytes, for the cache of small block files, which are kept whole and compressed.",
    )
    range_cache_bytes_max: BytesOrZero = Field(
        default=64 * MIB,
        description="Memory, in bytes, for the cache of parts of block files (footers, column chunks) as they came "
        "from remote storage. With backend local it is not used. 0: none.",
    )
    bloom_cache_bytes_max: Bytes = Field(
        default=64 * MIB,
        description="Memory, in bytes, for the cache of filters of trace ids (Bloom filters), which say which blocks a "
        "lookup by trace id need not read. A filter takes about 12 bits a trace.",
    )
    trace_reads_max: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=32, description="Reads from object storage that lookups by trace id do at once."
    )


class Settings(Section):
    """All settings. `app.settings.load` makes them; they are immutable."""

    target: Literal["all", "distributor", "live-store", "metrics-generator", "compactor"] = Field(
        default="all",
        description="What this process runs: `distributor` receives spans, `live-store` holds recent spans, writes "
        "blocks and answers queries, `metrics-generator` computes metrics from spans and pushes them, "
        "`compactor` merges blocks and deletes old ones, `all` does all of this.",
    )
    multitenancy_enabled: bool = Field(
        default=False,
        description="Separate tenants by the header X-Scope-OrgID; every request must then have it. Off: all spans "
        "belong to `single-tenant`.",
    )
    data_dir: Folder = Field(
        default=Path("data"),
        description="The only folder that a process writes to. A relative path starts at the working directory.",
    )
    log_level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="Lowest level of the messages that are logged."
    )
    server: Server = Server()
    kafka: Kafka = Kafka()
    distributor: Distributor = Distributor()
    live_store: LiveStore = LiveStore()
    storage: Storage = Storage()
    query_frontend: QueryFrontend = QueryFrontend()
    query: Query = Query()
    cache: Cache = Cache()
    metrics_generator: MetricsGenerator = MetricsGenerator()
    compactor: Compactor = Compactor()
    overrides: Overrides = Overrides()
    ui: Ui = Ui()

    @model_validator(mode="after")
    def _overrides_fit(self) -> Self:
        try:
            self.overrides.defaults.metrics_generator.over(self.metrics_generator)
        except ValidationError as failed:
            (first, *_) = failed.errors(include_url=False)
            raise conflict("overrides.defaults.metrics_generator", first["msg"]) from None
        return self

    @model_validator(mode="after")
    def _readers_see_blocks_in_time(self) -> Self:
        needed_s = 2 * self.storage.trace.blocklist_poll_s
        if self.live_store.flushed_retention_s < needed_s:
            raise conflict(
                "live_store.flushed_retention_s",
                f"must be at least two storage.trace.blocklist_poll_s ({needed_s:g}), or queries miss new blocks",
                "storage.trace.blocklist_poll_s",
            )
        merging = self.compactor.compaction
        needed_s += self.query.timeout_s
        if merging.compacted_block_retention < needed_s:
            raise conflict(
                "compactor.compaction.compacted_block_retention",
                f"must be at least two storage.trace.blocklist_poll_s and one query.timeout_s ({needed_s:g} s), or "
                "queries lose the blocks that they read",
                "storage.trace.blocklist_poll_s",
            )
        if merging.input_blocks_max < merging.input_blocks_min:
            raise conflict(
                "compactor.compaction.input_blocks_max",
                f"must not be less than compactor.compaction.input_blocks_min ({merging.input_blocks_min})",
                "compactor.compaction.input_blocks_min",
            )
        if self.kafka.retention_s < 2 * self.live_store.block_age_s:
            raise conflict(
                "kafka.retention_s",
                f"must be at least two live_store.block_age_s ({2 * self.live_store.block_age_s:g}), "
                "or Kafka forgets spans before they are in a block",
                "live_store.block_age_s",
            )
        return self
