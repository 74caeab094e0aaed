"""The sections query_frontend and querier: limits of queries, and how they are divided between processes."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.values import (
    KIB,
    MIB,
    Bytes,
    BytesOrZero,
    Count,
    CountOrZero,
    DurationOrZero,
    HostPorts,
    SecondsOrZero,
)


class Slo(Section):
    duration_slo: DurationOrZero = Field(
        default=0,
        description="Time within which an answer counts as within the objective, in "
        "`tempo_query_frontend_queries_within_slo_total`. 0: none.",
    )
    throughput_bytes_slo: BytesOrZero = Field(
        default=0,
        description="Bytes read per second from which on an answer counts as within the objective however long it "
        "takes. 0: none.",
    )


class Search(Slo):
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
    metadata_slo: Slo = Slo()

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


class MetricsQueries(Slo):
    max_duration_s: SecondsOrZero = Field(
        default=7 * 24 * 3600,
        description="Longest time range of a metrics query, in seconds between start and end. 0: no maximum.",
    )


class TraceById(Slo):
    max_bytes_per_trace: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=32 * MIB,
        description="Largest trace that is returned whole, in bytes as OTLP. A larger trace is read in pages of at "
        "most this size. 0: no maximum.",
    )
    max_spans_per_page: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Most spans in a page of a trace; also the default if the query sets no limit."
    )


class QueryLog(Section):
    slow_after: DurationOrZero = Field(
        default=10,
        description="Time from which on a query is slow. Then a warning in the log says its tenant, duration, status, "
        "and what it has read. 0: never.",
    )
    all_queries: bool = Field(default=False, description="Whether each query is logged, with level info.")
    query_chars_max: CountOrZero = Field(
        default=1000,
        description="Characters of a query's text in the log; the rest is left out. 0: no text, for it may hold values "
        "that are private.",
    )


class McpServerSettings(Section):
    enabled: bool = Field(
        default=False,
        description="Whether `/api/mcp` serves the Model Context Protocol: tools for language models, with the access "
        "rules of the other endpoints. Needs the extra `stretto[mcp]`.",
    )
    max_answer_bytes: Annotated[int, Field(ge=4096, le=16 * MIB)] = Field(
        default=64 * KIB,
        description="Longest answer of a tool, in bytes. What does not fit is left out, and the answer says so.",
    )


class QueryFrontend(Section):
    multi_tenant_queries_enabled: bool = Field(
        default=True,
        description="Whether a query may ask for several tenants at once: names separated by `|` in X-Scope-OrgID. "
        "Where tokens are needed, the token must be one of each of them.",
    )
    multi_tenant_queries_max: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=16, description="Most tenants that a query may ask for at once."
    )
    max_outstanding_per_tenant: Count = Field(
        default=2000,
        description="Most jobs of one tenant that wait for queriers, or that they work on. Queries that need more are "
        "refused with 429.",
    )
    max_retries: CountOrZero = Field(
        default=2, description="How often a job is tried again, at another querier if there is one."
    )
    target_bytes_per_job: Bytes = Field(
        default=100 * MIB, description="Bytes of block files that make a job for a querier, about."
    )
    concurrent_jobs: Count = Field(
        default=1000, description="Most jobs of one query that wait for queriers, or that they work on."
    )
    hedge_requests_at: DurationOrZero = Field(
        default=2, description="Time after which another querier gets a job, too; the first answer counts. 0: never."
    )
    hedge_requests_up_to: Annotated[int, Field(ge=2, le=10)] = Field(
        default=2,
        description="Most queriers that get one job for `hedge_requests_at`, the first one included: one more each "
        "time that it has passed again.",
    )
    job_steal_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=50,
        description="How long, in milliseconds, a job waits for the querier whose caches have its blocks before any "
        "other takes it.",
    )
    querier_wait_s: SecondsOrZero = Field(
        default=5, description="Seconds for which a query waits for a querier to connect. Then it is refused with 503."
    )
    result_cache_bytes_max: BytesOrZero = Field(
        default=64 * MIB,
        description="Memory, in bytes, for the cache of what queriers have answered about blocks. 0: none.",
    )
    trace_key_cache_bytes_max: Bytes = Field(
        default=64 * MIB,
        description="Memory, in bytes, for the keys of the traces in blocks, 8 bytes each: searches need them to find "
        "traces that lie in several places.",
    )
    allow_partial: bool = Field(
        default=False,
        description="Whether searches, metrics and tags answer what there is, with the status PARTIAL, where a "
        "partition or block cannot be read. Otherwise they do so only on request, and are refused with 503.",
    )
    max_query_expression_size_bytes: Annotated[int, Field(ge=1, le=16 * MIB)] = Field(
        default=128 * KIB, description="Longest TraceQL query, in bytes. A longer one is refused."
    )
    max_bytes_read_per_query: BytesOrZero = Field(
        default=0,
        description="Most bytes of columns that a query may read, of blocks and of recent spans: those of "
        "`inspectedBytes` in its answer. It ends with 422 as soon as it is known to need more. 0: no limit.",
    )
    live_store_wait_s: SecondsOrZero = Field(
        default=5,
        description="Seconds for which a query looks for a live store that has a partition, as in a rebalance. Then it "
        "is refused with 503, or answered as PARTIAL where that is allowed.",
    )
    query_log: QueryLog = QueryLog()
    search: Search = Search()
    metrics: MetricsQueries = MetricsQueries()
    trace_by_id: TraceById = TraceById()
    mcp_server: McpServerSettings = McpServerSettings()


class FrontendWorker(Section):
    frontend_address: HostPorts = Field(
        default=(),
        description="Addresses (`server.grpc_listen_port`) of the query frontends that queriers fetch jobs from, a "
        "list or one text separated by commas. Empty: all that announce themselves.",
    )


class Querier(Section):
    max_concurrent_queries: Count = Field(
        default=20, description="Jobs that a querier takes at once, of all query frontends together."
    )
    frontend_worker: FrontendWorker = FrontendWorker()
