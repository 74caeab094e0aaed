"""The settings: names, types, ranges, defaults. Names are Tempo's where the concept is the same.

The unit ends a name where the name is ours. Every leaf has a description: docs/settings.md is made of them.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from app.settings.base import Section, conflict
from app.settings.generator import MetricsGenerator
from app.settings.overrides import Overrides
from app.settings.server import Receivers, Server
from app.settings.storage import Storage
from app.settings.values import (
    KIB,
    MIB,
    Bytes,
    BytesOrZero,
    Count,
    CountOrZero,
    Folder,
    KafkaAddresses,
    Seconds,
    SecondsOrZero,
    TopicName,
)


class Kafka(Section):
    address: KafkaAddresses = Field(
        default=("127.0.0.1:9092",),
        description="Brokers to begin with, each host:port: a list, or one text with commas. The "
        "port may be left "
        "out (9092).",
    )
    topic: TopicName = Field(default="spans", description="Topic of the spans: Stretto's ground state.")
    otlp_topic: TopicName = Field(
        default="otlp_spans",
        description="Topic into which other Kafka producers write OTLP trace requests (encoding otlp_proto).",
    )
    partitions: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=4,
        description="Partitions of a topic that Stretto creates. It does not change a topic that exists.",
    )
    replication_factor: Annotated[int, Field(ge=1, le=32_767)] = Field(
        default=1,
        description="Copies of each partition of a topic that Stretto creates; 3 in a real cluster.",
    )
    consumer_group_prefix: TopicName = Field(
        default="stretto", description="What the names of the consumer groups begin with."
    )
    session_timeout_s: Seconds = Field(
        default=6, description="Seconds of silence after which Kafka gives a worker's partitions to others."
    )
    write_timeout_s: Seconds = Field(
        default=10,
        description="Seconds to wait for Kafka's acknowledgement before the client is told to retry.",
    )
    retention_s: Seconds = Field(
        default=24 * 3600,
        description="Seconds for which a topic that Stretto creates keeps its records. Must be well above "
        "`live_store.block_age_s`: what is not in a block yet is only here.",
    )
    max_message_bytes: Annotated[int, Field(ge=64 * KIB, le=2**31 - 1)] = Field(
        default=8 * MIB,
        description="Largest Kafka record that is written, in bytes, and the limit of the topics.",
    )
    decompressed_bytes_max: Annotated[int, Field(ge=64 * KIB, le=2**31 - 1)] = Field(
        default=64 * MIB,
        description="Largest size, in bytes, of a batch of a Kafka topic that its producer compressed, when it is "
        "decompressed. A larger one is skipped and counted.",
    )
    lag_s_max: Seconds = Field(
        default=5,
        description="Seconds after which a partition that has not been read to where Kafka says it ends counts as "
        "missing: searches answer 503.",
    )
    consume_stall_s: Seconds = Field(
        default=12,
        description="Seconds after which a consumer that is not in its group, or reads nothing although there is "
        "something and nothing else is waited for, is made anew; after as long again the process ends. It is at "
        "least what a rebalance may take: 1.2 times `session_timeout_s` or 10 s, the longer, and a second.",
    )

    start_stall_s: Seconds = Field(
        default=60,
        description="Seconds, while Kafka answers, after which a process that has not begun to consume since its "
        "start ends, to be started again. Time in which Kafka is away does not count.",
    )

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        if self.topic == self.otlp_topic:
            raise conflict("otlp_topic", "must differ from kafka.topic: their records differ in format", "topic")
        return self


class Gather(Section):
    """Requests are put together into few big Kafka records."""

    gather_ms: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=60,
        description="Longest time, in milliseconds, that a request waits for others to share a "
        "Kafka record with. "
        "Longer costs clients latency and saves CPU.",
    )
    gather_bytes_max: Bytes = Field(
        default=1_500_000, description="Bytes of requests at which a batch is sent without waiting longer."
    )


class Input(Section):
    """What the requests of all clients may take of this process."""

    bytes_max: Bytes = Field(
        default=256 * MIB,
        description="Bytes of requests in memory, over all receivers and connections: being read, decompressed, "
        "decoded from JSON, and waiting for Kafka's acknowledgement. Above it clients are told to retry.",
    )
    tenant_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5,
        description="How much of `distributor.input.bytes_max` the requests of one tenant may take, from 0 to 1. "
        "Without `multitenancy_enabled` it is all.",
    )
    body_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="Threads that decompress request bodies; large ones take turns, small ones do not wait."
    )
    body_cpu_s_max: Seconds = Field(
        default=5,
        description="CPU seconds that decompressing a request, and reading its JSON, may take each. Ordinary spans "
        "take one for 100 MB of gzip. A request that takes longer is refused.",
    )
    members_max: Count = Field(
        default=4096, description="Members, one after the other, that a gzip body may consist of. More are refused."
    )
    ratio_max: Count = Field(
        default=2000,
        description="How many times its size a compressed body above 1 MiB may become. What grows more is refused.",
    )


class Distributor(Section):
    receivers: Receivers = Receivers()
    gather: Gather = Gather()
    input: Input = Input()
    decode_s_max: Seconds = Field(
        default=10,
        description="CPU seconds that the decoding of a request may take: ordinary spans take one for 100 MB. A "
        "request that takes longer is refused.",
    )
    max_attribute_bytes: Annotated[int, Field(ge=256, le=16 * MIB)] = Field(
        default=64 * KIB,
        description="Longest value or key of an attribute, in bytes. Of a longer one the beginning is kept, and "
        "counted in stretto_attribute_values_cut_total.",
    )

    @model_validator(mode="after")
    def _largest_request_fits(self) -> Self:
        protocols = self.receivers.otlp.protocols
        sizes = {
            "receivers.otlp.protocols.grpc.max_recv_msg_size_mib": protocols.grpc.max_recv_msg_size_mib * MIB,
            "receivers.otlp.protocols.http.max_request_body_size": protocols.http.max_request_body_size,
            "gather.gather_bytes_max": self.gather.gather_bytes_max,
        }
        most = int(self.input.bytes_max * self.input.tenant_share)
        for key, size_bytes in sizes.items():
            # As it came and decompressed, both.
            if 2 * size_bytes > most:
                raise conflict(
                    key,
                    f"twice {size_bytes} bytes are more than a tenant's share of distributor.input.bytes_max ({most}); "
                    "make this one smaller or that one larger",
                    "input.bytes_max",
                )
        return self


class LiveStore(Section):
    """Recent spans: heads, segments, and when they become blocks."""

    segment_rows_max: Count = Field(default=65_536, description="Spans after which a partition's head is sealed.")
    segment_age_s: Seconds = Field(default=30, description="Seconds after which a head is sealed, full or not.")
    block_age_s: Seconds = Field(
        default=300, description="Seconds after which the segments of a partition become a block."
    )
    block_rows_max: Count = Field(
        default=2_000_000, description="Spans after which the segments of a partition become a block."
    )
    pending_rows_max: Count = Field(
        default=400_000,
        description="Spans in heads that wait for their seal. Above it the live store stops reading from Kafka.",
    )
    head_bytes_max: Bytes = Field(
        default=256 * MIB,
        description="Bytes of records in heads. Above it the fullest partition is sealed early.",
    )
    segment_bytes_max: Bytes = Field(
        default=32 * 1024 * MIB,
        description="Bytes of disk for segments that are not in blocks yet. Above it (the object storage is away for "
        "long) the live store stops reading from Kafka, and /ready says so.",
    )
    head_reuse_ms: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=100,
        description="Milliseconds for which what a search has made of unsealed records serves the next searches, too: "
        "so much later spans are searchable while searches come in close succession. By trace id they are at once.",
    )
    segment_cache_bytes_max: Bytes = Field(
        default=128 * MIB,
        description="Bytes of segments kept in memory besides RocksDB, so that queries are fast.",
    )
    flushed_retention_s: Seconds = Field(
        default=60,
        description="Seconds for which segments are kept after they became a block, for readers "
        "that do not know the block yet. At least two `storage.trace.blocklist_poll_s`.",
    )
    local_copy_bytes_max: BytesOrZero = Field(
        default=2048 * MIB,
        description="Bytes of disk for segments that are in blocks already, the youngest: queries read them instead of "
        "the object storage, also while that is away. Where `storage.trace.backend` is local: 0 unless it is set.",
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
    default_result_limit: Count = Field(default=20, description="Traces in an answer, where the query has no limit.")
    max_result_limit: CountOrZero = Field(
        default=0, description="Largest limit a query may ask for, in traces. 0: any."
    )
    max_duration_s: SecondsOrZero = Field(
        default=7 * 24 * 3600, description="Longest time range of a search, in seconds between start and end. 0: any."
    )
    default_spans_per_span_set: Count = Field(
        default=3, description="Spans shown per span set, where the query does not say (spss)."
    )
    max_spans_per_span_set: CountOrZero = Field(
        default=0, description="Largest spss a query may ask for, in spans. 0: any."
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
        description="Longest time range of a metrics query, in seconds between start and end. 0: any.",
    )


class TraceById(Section):
    max_bytes_per_trace: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=32 * MIB,
        description="Largest trace that is answered whole, in bytes as OTLP; a larger one is read in pages of at most "
        "this size. 0: any.",
    )
    max_spans_per_page: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Most spans of a page of a trace, and as many where the query has no limit."
    )


class QueryFrontend(Section):
    max_query_expression_size_bytes: Annotated[int, Field(ge=1, le=16 * MIB)] = Field(
        default=128 * KIB, description="Longest TraceQL text, in bytes. A longer one is refused."
    )
    search: Search = Search()
    metrics: MetricsQueries = MetricsQueries()
    trace_by_id: TraceById = TraceById()


class Query(Section):
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=2,
        description="Threads that evaluate queries; as many as CPU cores may be used for them. "
        "As many others write the answers.",
    )
    niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        default=0,
        description="How much these threads give way to all else on the machine that wants a CPU, as of the command "
        "nice (Linux only). 10 acknowledges spans sooner where CPUs are to spare. Where other programs want all CPUs, "
        "a thread that gives way keeps the GIL and gets no CPU: all else waits up to 0.4 s.",
    )
    concurrent_max: Count = Field(default=20, description="Queries that are worked on at once; others wait.")
    timeout_s: Seconds = Field(default=60, description="Seconds after which a query is given up.")
    memory_bytes_max: Annotated[int, Field(ge=4 * MIB, le=1024**4)] = Field(
        default=256 * MIB,
        description="Bytes that one query may hold, its answer included, by estimate. One that needs more is refused "
        "with 422, and the text says what would be cheaper.",
    )
    memory_total_bytes_max: Annotated[int, Field(ge=4 * MIB, le=1024**4)] = Field(
        default=384 * MIB,
        description="Bytes that all queries may hold together, besides the first 4 MiB of each. One that needs more is "
        "refused with 429.",
    )
    column_cache_bytes_max: Bytes = Field(
        default=384 * MIB, description="Bytes of decoded columns kept in memory for the next queries."
    )


class Settings(Section):
    """Everything. Made by `app.settings.load`; immutable."""

    target: Literal["all", "distributor", "live-store", "metrics-generator"] = Field(
        default="all",
        description="What this process runs: `distributor` receives spans, `live-store` keeps them, "
        "writes blocks "
        "and answers queries, `metrics-generator` pushes metrics of them, `all` does all of it.",
    )
    multitenancy_enabled: bool = Field(
        default=False,
        description="Tell tenants apart by the header X-Scope-OrgID, which every request must have then. "
        "Off: all spans belong to `single-tenant`.",
    )
    data_dir: Folder = Field(
        default=Path("data"),
        description="The one folder that a process writes to. A relative path starts at the working directory.",
    )
    log_level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="Least important messages that are logged."
    )
    server: Server = Server()
    kafka: Kafka = Kafka()
    distributor: Distributor = Distributor()
    live_store: LiveStore = LiveStore()
    storage: Storage = Storage()
    query_frontend: QueryFrontend = QueryFrontend()
    query: Query = Query()
    metrics_generator: MetricsGenerator = MetricsGenerator()
    overrides: Overrides = Overrides()

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
        if self.kafka.retention_s < 2 * self.live_store.block_age_s:
            raise conflict(
                "kafka.retention_s",
                f"must be at least two live_store.block_age_s ({2 * self.live_store.block_age_s:g}), "
                "or Kafka forgets spans before they are in a block",
                "live_store.block_age_s",
            )
        return self
