"""The settings: names, types, ranges, defaults. Names are Tempo's where the concept is the same.

Our own names end with the unit. Every setting has a description; docs/settings.md consists of them.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from app.settings.base import Section, conflict
from app.settings.sections.cache import Cache
from app.settings.sections.compactor import Compactor
from app.settings.sections.distributor import Distributor
from app.settings.sections.generator import MetricsGenerator
from app.settings.sections.kafka import Kafka
from app.settings.sections.members import Members
from app.settings.sections.query_frontend import Querier, QueryFrontend
from app.settings.sections.server import Server
from app.settings.sections.storage import Storage
from app.settings.sections.tracing import Tracing
from app.settings.sections.ui import Ui
from app.settings.tenants.overrides import Overrides
from app.settings.values import (
    MIB,
    Bytes,
    BytesOrZero,
    Count,
    DurationOrZero,
    Folder,
    Seconds,
    Words,
)

TARGETS: Final = ("distributor", "live-store", "metrics-generator", "compactor", "query-frontend", "querier")
EVERYTHING: Final = frozenset({"all", "scalable-single-binary"})


def _target_names(text: str) -> str:
    """Raises: ValueError"""
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in {*TARGETS, *EVERYTHING}]:
        known = ", ".join(["all", "scalable-single-binary", *TARGETS])
        raise ValueError(f"{wrong[0][:40]!r} is no target; expected {known}, or some of them separated by commas")
    if len(names) > 1 and EVERYTHING.intersection(names):
        raise ValueError("all and scalable-single-binary have every other target; name them alone")
    return ",".join(dict.fromkeys(names))


TargetNames = Annotated[
    str,
    Words(f"all, scalable-single-binary, or some of {', '.join(TARGETS)} separated by commas"),
    AfterValidator(_target_names),
]


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
    hand_over_timeout: DurationOrZero = Field(
        default=20,
        description="How long a live store that is told to stop goes on for, until others have its partitions. It "
        "stops at once where replicas have them (ZONE), or where no other live store is there. 0: never waits.",
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
    timeout_s: Seconds = Field(
        default=60,
        description="Seconds after which a query is cancelled. To make the text of its answer may take as long again.",
    )
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
    read_ahead_bytes_max: BytesOrZero = Field(
        default=64 * MIB,
        description="Memory, in bytes, for parts of block files that queries read from remote storage before they need "
        "them. What does not fit is read when it is needed. 0: nothing is read ahead.",
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

    target: TargetNames = Field(
        default="all",
        description="What this process runs: `distributor` receives spans, `live-store` holds recent spans and writes "
        "blocks, `query-frontend` answers queries with the help of live stores and queriers, `querier` reads blocks "
        "for it, `metrics-generator` computes metrics from spans and pushes them, `compactor` merges blocks and "
        "deletes old ones, `all` does all of this, and so does `scalable-single-binary`, of which there may be "
        "several. Some of them separated by commas run together.",
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
    workers: Annotated[
        int,
        Words("auto, or an integer from 0 to 1024"),
        BeforeValidator(lambda value: 0 if value == "auto" else value),
        Field(ge=0, le=1024),
    ] = Field(
        default=0,
        description="Worker processes that `stretto run` starts. 0 or auto: one less than this machine has CPUs, at "
        "most one for each GiB of memory, at least 1.",
    )
    worker: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=1,
        description="Which of the worker processes that share `data_dir` this is: what only it may write lies in "
        "`data_dir`/workers/N, that of the first in `data_dir`. `stretto run` and honcho set it.",
    )
    shutdown_delay: DurationOrZero = Field(
        default=0,
        description="How long a process that is told to stop (SIGTERM) goes on as before, while /ready says 503, so "
        "that load balancers leave it out before it stops to listen. `stretto run` does not wait longer than 4 s.",
    )
    log_level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="Lowest level of the messages that are logged."
    )
    log_format: Literal["text", "logfmt", "json"] = Field(
        default="text",
        description="How messages are logged: as text for people, or with fields (level, tenant, trace_id, …), a line "
        "each, as logfmt or JSON.",
    )
    server: Server = Server()
    kafka: Kafka = Kafka()
    members: Members = Members()
    distributor: Distributor = Distributor()
    live_store: LiveStore = LiveStore()
    storage: Storage = Storage()
    query_frontend: QueryFrontend = QueryFrontend()
    querier: Querier = Querier()
    query: Query = Query()
    cache: Cache = Cache()
    metrics_generator: MetricsGenerator = MetricsGenerator()
    compactor: Compactor = Compactor()
    overrides: Overrides = Overrides()
    tracing: Tracing = Tracing()
    ui: Ui = Ui()

    @property
    def targets(self) -> frozenset[str]:
        """The targets that the process runs, each by its own name."""
        names = frozenset(self.target.split(","))
        return frozenset(TARGETS) if names & EVERYTHING else names

    @property
    def own_dir(self) -> Path:
        """The folder that only this process writes to."""
        return self.data_dir if self.worker == 1 else self.data_dir / "workers" / str(self.worker)

    @model_validator(mode="after")
    def _overrides_fit(self) -> Self:
        names = [one.name for one in self.distributor.forwarders]
        if len(set(names)) < len(names):
            raise conflict("distributor.forwarders", "two of them have the same name")
        if wrong := [name for name in self.overrides.defaults.forwarders if name not in names]:
            raise conflict("overrides.defaults.forwarders", f"{wrong[0]!r} is none of distributor.forwarders")
        try:
            self.overrides.defaults.metrics_generator.over(self.metrics_generator)
        except ValidationError as failed:
            (first, *_) = failed.errors(include_url=False)
            # As in Tempo, the keys of `registry` have no section of their own in overrides.
            where = ".".join(map(str, (*first["loc"], *filter(None, [first.get("ctx", {}).get("key", "")]))))
            key = f"overrides.defaults.metrics_generator.{where.removeprefix('registry.')}".removesuffix(".")
            raise conflict(key, first["msg"]) from None
        return self

    @model_validator(mode="after")
    def _foreign_topics_are_foreign(self) -> Self:
        receiver, kafka = self.distributor.receivers.kafka, self.kafka
        own = {name: getattr(kafka, name) for name in ("topic", "otlp_topic", "compaction_topic")}
        own["consumer_group_prefix"] = f"{kafka.consumer_group_prefix}-compactor-__assignor-__leader"
        named = [topic for entry in receiver.traces for topic in entry.topics if not topic.startswith("^")]
        dead, key = receiver.dead_letter_topic, "distributor.receivers.kafka"
        for name, topic in own.items():
            if topic in named:
                raise conflict(f"{key}.traces", f"{topic} is kafka.{name} already", f"kafka.{name}")
            if dead == topic:
                raise conflict(f"{key}.dead_letter_topic", f"must differ from kafka.{name}", f"kafka.{name}")
        if dead and dead in named:
            raise conflict(f"{key}.dead_letter_topic", "is a topic of the list traces, too", f"{key}.traces")
        if twice := [topic for topic in named if named.count(topic) > 1]:
            raise conflict(f"{key}.traces", f"two entries name topic {twice[0]}")
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
