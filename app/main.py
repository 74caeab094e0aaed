"""Joins the parts: `build` is the one place that knows them all."""

import gc
import hashlib
import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import faust
import prometheus_client
import pyarrow as pa

from agents.distributor import agent as distributor
from agents.distributor.record_producer import RecordProducer
from agents.distributor.span_writer import SpanWriter
from agents.generator import agent as metrics_generator
from agents.generator.agent import MetricsGenerator
from agents.generator.journal.journal_file import JournalFile
from agents.live_store import agent as live_store
from agents.live_store import block_flusher
from agents.live_store.agent import LiveLimits, PartitionManager
from agents.live_store.block_flusher import BlockFlusher
from agents.stream.stream_app import StreamApp, new_app, rebalance_timeout_s
from agents.stream.topic_ends import TopicEnds
from app.api.status.rings import ROLES, Role
from app.errors import SettingsError, StrettoError
from app.net.tenant import SINGLE_TENANT
from app.process.loop_watch import LoopWatch
from app.process.memory_watch import MemoryWatch
from app.process.overrides import OverridesFile, OverridesReader
from app.process.shutdown import LeaveInTime
from app.process.topics import ensure_topics, specs
from app.querying.no_queries import NoQueries
from app.querying.querier import Querier, QueryLimits
from app.remote_write.client import remote_writers
from app.settings import Settings, load
from app.settings.models import LiveStore
from app.settings.show import overrides_yaml
from app.targets.consumer_watch import ConsumerWatch
from app.targets.kafka_rings import KafkaRings
from app.targets.kafka_state import KafkaState
from app.targets.live_store import LiveOpener, cluster_and_partitions
from app.targets.metrics_generator import GeneratorConfigs, Pusher
from app.targets.query_server import QueryServer
from app.targets.receiver_servers import ReceiverServers

_KAFKA_WAIT_S = 60.0
_SWITCH_INTERVAL_S = 0.0001


def app_from_environment() -> StreamApp:
    """What `faust -A app` runs. Wrong settings end the process with their text, without a traceback."""
    try:
        app = build(load(os.environ, Path.cwd()))
    except StrettoError as err:
        sys.exit(f"stretto: {err}")
    app.parts.insert(0, LeaveInTime())
    return app


def build(settings: Settings) -> StreamApp:
    """The worker for `settings.target`. Opens no socket and no store: that happens when the app starts."""
    tune()
    writer = _span_writer(settings)
    overrides = OverridesFile(settings, os.environ)

    def runtime() -> str:
        return overrides_yaml(overrides.tenants())

    apps: dict[Role, StreamApp] = {}
    ends = TopicEnds()
    rings = KafkaRings(settings.kafka.address, settings.kafka.consumer_group_prefix, apps, ends)
    watch = _consumer_watch(settings, apps, ends)
    if settings.target == "distributor":
        main = apps["distributor"] = _distributor_app(settings, writer)
        main.parts += [
            QueryServer(settings, NoQueries(watch.problems, settings.target), lambda: None, rings, runtime),
            ReceiverServers(settings, writer),
        ]
    elif settings.target == "metrics-generator":
        if not settings.metrics_generator.storage.remote_write:
            raise SettingsError("target metrics-generator needs a receiver: set REMOTE_WRITE_URL")
        main = apps["metrics-generator"] = _generator_app(settings, overrides)
        main.parts.append(
            QueryServer(settings, NoQueries(watch.problems, settings.target), lambda: None, rings, runtime)
        )
    else:
        main, manager = _live_store_app(settings)
        apps["live-store"], rings.manager = main, manager
        manager.ends, manager.stalls = ends, watch.problems
        writer.on_acknowledged(ends.note)
        querier = Querier(manager, _query_limits(settings))
        main.parts.append(QueryServer(settings, querier, querier.close, rings, runtime))
        if settings.target == "all":
            main.parts.append(ReceiverServers(settings, writer))
            apps["distributor"] = _distributor_app(settings, writer)
            _run_beside(main, apps["distributor"])
            if settings.metrics_generator.storage.remote_write:
                apps["metrics-generator"] = _generator_app(settings, overrides)
                _run_beside(main, apps["metrics-generator"])

    async def make_topics() -> None:
        await ensure_topics(settings.kafka.address, specs(settings), _KAFKA_WAIT_S)
        gc.collect()
        gc.freeze()  # what is there now stays: full collections need not look at it

    main.before_start[:0] = [watch.begin, make_topics]
    overrides_reader = OverridesReader(overrides, settings.overrides.per_tenant_override_period_s)
    main.parts += [watch, LoopWatch(), MemoryWatch(), overrides_reader]
    return main


def tune() -> None:
    """Arrow's own threads off: work is spread by our pools.

    A garbage collection looks at all young objects while no other thread can run: with the answer of a query, millions
    of them, it took 440 ms. So the young ones are few, 20,000 at most, which takes 10 ms. Full collections, which look
    at everything that was made since the start, come after 20 million objects.

    Whoever waits for the GIL while a query's thread computes waits for so long, by default 5 ms. The event loop
    gives the lock away with each call of Arrow or the system, so several times in all that it does.
    """
    pa.set_cpu_count(1)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    gc.set_threshold(2_000, 10, 1_000)


def _span_writer(settings: Settings) -> SpanWriter:
    kafka = settings.kafka
    producer = RecordProducer(kafka.address, kafka.topic, kafka.max_message_bytes, kafka.write_timeout_s)
    limits = settings.distributor
    return SpanWriter(producer, kafka.max_message_bytes, limits.max_attribute_bytes, limits.decode_s_max)


def _new_app(settings: Settings, target: str) -> StreamApp:
    kafka = settings.kafka
    return new_app(
        f"{kafka.consumer_group_prefix}-{target}",
        broker=kafka.address,
        datadir=settings.data_dir / "faust" / target,
        session_timeout_s=kafka.session_timeout_s,
        message_bytes_max=kafka.max_message_bytes,
        keeps_partitions=target in ("live-store", "metrics-generator"),
        decompressed_bytes_max=kafka.decompressed_bytes_max,
    )


def _consumer_watch(settings: Settings, apps: Mapping[Role, StreamApp], ends: TopicEnds) -> ConsumerWatch:
    kafka = settings.kafka
    stall_s = max(kafka.consume_stall_s, 1.2 * rebalance_timeout_s(kafka.session_timeout_s) + 1)
    topics: dict[Role, str] = {role: kafka.otlp_topic if role == "distributor" else kafka.topic for role in ROLES}
    return ConsumerWatch(KafkaState(kafka.address), apps, topics, ends, stall_s, kafka.start_stall_s)


def _distributor_app(settings: Settings, writer: SpanWriter) -> StreamApp:
    app = _new_app(settings, "distributor")
    distributor.register(app, settings.kafka.otlp_topic, writer, SINGLE_TENANT)
    return app


def _live_store_app(settings: Settings) -> tuple[StreamApp, PartitionManager]:
    app = _new_app(settings, "live-store")
    live = settings.live_store
    # One thread seals (it is the data path's work off the loop); another waits for storage.
    sealing, flushing = ThreadPoolExecutor(1, "seal"), ThreadPoolExecutor(1, "flush")
    manager = PartitionManager(app, settings.kafka.topic, sealing, _live_limits(live), settings.kafka.lag_s_max)
    live_store.register(app, manager)
    block_flusher.register(app, manager, _flusher(settings, app, manager, flushing))
    app.parts.append(LiveOpener(settings, app, manager))
    return app, manager


def _generator_app(settings: Settings, overrides: OverridesFile) -> StreamApp:
    app = _new_app(settings, "metrics-generator")
    storage, kafka = settings.metrics_generator.storage, settings.kafka
    targets = remote_writers(storage.remote_write, SINGLE_TENANT)
    # Workers of one machine have folders of their own.
    folder = hashlib.blake2b(str(settings.data_dir.absolute()).encode(), digest_size=4).hexdigest()
    instance = f"{socket.gethostname()}-{folder}"
    configs = GeneratorConfigs(settings, overrides, instance)
    journal = JournalFile(settings.data_dir / "metrics-generator")
    generator = MetricsGenerator(
        app, kafka.topic, configs, targets, instance, journal, queue_bytes_max=storage.queue_bytes_max
    )
    metrics_generator.register(app, generator)

    async def cluster_id() -> str:
        return (await cluster_and_partitions(kafka.address, kafka.topic))[0]

    app.parts.append(Pusher(generator, targets, configs, cluster_id))
    return app


def _flusher(settings: Settings, app: StreamApp, manager: PartitionManager, executor: Executor) -> BlockFlusher:
    live = settings.live_store
    # What is on this machine anyway needs no second copy.
    copies = settings.storage.trace.backend != "local" or "local_copy_bytes_max" in live.model_fields_set
    return BlockFlusher(app, manager, executor, live.flushed_retention_s, live.local_copy_bytes_max if copies else 0)


def _live_limits(live: LiveStore) -> LiveLimits:
    return LiveLimits(live.pending_rows_max, live.head_bytes_max, live.segment_bytes_max)


def _query_limits(settings: Settings) -> QueryLimits:
    query = settings.query
    return QueryLimits(
        query.threads,
        query.concurrent_max,
        query.timeout_s,
        query.niceness,
        query.memory_bytes_max,
        query.memory_total_bytes_max,
    )


def _run_beside(main: StreamApp, other: StreamApp) -> None:
    """A second Faust app, with its own consumer group, in the same worker."""

    class Beside(faust.Service):  # type: ignore[misc]  # Faust has no types here
        async def on_start(self) -> None:
            await self.add_runtime_dependency(other)

    main.service(Beside)
