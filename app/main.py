"""Joins the parts: `build` is the one place that knows them all."""

import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faust
import prometheus_client
import pyarrow as pa

from agents import block_flusher, distributor, live_store
from agents.block_flusher import BlockFlusher
from agents.live_store import LiveKeeper, LiveLimits
from agents.record_producer import RecordProducer
from agents.span_writer import SpanWriter
from agents.stream_app import StreamApp, new_app
from app.errors import StrettoError
from app.live import LiveOpener
from app.querier import NoQueries, Querier, QueryLimits
from app.servers import QueryServer, ReceiverServers
from app.settings import Settings, load
from app.settings.models import LiveStore
from app.tenant import SINGLE_TENANT
from app.topics import ensure_topics, specs

_KAFKA_WAIT_S = 60.0


def app_from_environment() -> StreamApp:
    """What `faust -A app` runs. Wrong settings end the process with their text, without a traceback."""
    try:
        return build(load(os.environ, Path.cwd()))
    except StrettoError as err:
        sys.exit(f"stretto: {err}")


def build(settings: Settings) -> StreamApp:
    """The worker for `settings.target`. Opens no socket and no store: that happens when the app starts."""
    _tune()
    writer = _span_writer(settings)
    if settings.target == "distributor":
        main = _distributor_app(settings, writer)
        main.parts += [QueryServer(settings, NoQueries(list), lambda: None), ReceiverServers(settings, writer)]
    else:
        main, keeper = _live_store_app(settings)
        querier = Querier(keeper, _query_limits(settings))
        main.parts.append(QueryServer(settings, querier, querier.close))
        if settings.target == "all":
            main.parts.append(ReceiverServers(settings, writer))
            _run_beside(main, _distributor_app(settings, writer))

    async def make_topics() -> None:
        await ensure_topics(settings.kafka.address, specs(settings), _KAFKA_WAIT_S)
        gc.collect()
        gc.freeze()  # what is there now stays: full collections need not look at it

    main.before_start.insert(0, make_topics)
    return main


def _tune() -> None:
    """Arrow's own threads off: work is spread by our pools. Full garbage collections stall the loop by 50 ms."""
    pa.set_cpu_count(1)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    gc.set_threshold(50_000, 50, 1000)


def _span_writer(settings: Settings) -> SpanWriter:
    kafka = settings.kafka
    producer = RecordProducer(kafka.address, kafka.topic, kafka.max_message_bytes, kafka.write_timeout_s)
    return SpanWriter(producer, kafka.max_message_bytes, settings.distributor.max_attribute_bytes)


def _new_app(settings: Settings, target: str) -> StreamApp:
    kafka = settings.kafka
    return new_app(
        f"{kafka.consumer_group_prefix}-{target}",
        broker=kafka.address,
        datadir=settings.data_dir / "faust" / target,
        session_timeout_s=kafka.session_timeout_s,
        message_bytes_max=kafka.max_message_bytes,
        keeps_partitions=target == "live-store",
    )


def _distributor_app(settings: Settings, writer: SpanWriter) -> StreamApp:
    app = _new_app(settings, "distributor")
    distributor.register(app, settings.kafka.otlp_topic, writer, SINGLE_TENANT)
    return app


def _live_store_app(settings: Settings) -> tuple[StreamApp, LiveKeeper]:
    app = _new_app(settings, "live-store")
    live = settings.live_store
    # One thread seals (it is the data path's work off the loop); another waits for storage.
    sealing, flushing = ThreadPoolExecutor(1, "seal"), ThreadPoolExecutor(1, "flush")
    keeper = LiveKeeper(app, settings.kafka.topic, sealing, _live_limits(live))
    live_store.register(app, keeper)
    block_flusher.register(app, keeper, BlockFlusher(app, keeper, flushing, live.flushed_retention_s))
    app.parts.append(LiveOpener(settings, app, keeper))
    return app, keeper


def _live_limits(live: LiveStore) -> LiveLimits:
    return LiveLimits(live.pending_rows_max, live.head_bytes_max, live.segment_bytes_max)


def _query_limits(settings: Settings) -> QueryLimits:
    query = settings.query
    return QueryLimits(query.threads, query.concurrent_max, query.timeout_s)


def _run_beside(main: StreamApp, other: StreamApp) -> None:
    """A second Faust app, with its own consumer group, in the same worker."""

    class Beside(faust.Service):  # type: ignore[misc]  # Faust has no types here
        async def on_start(self) -> None:
            await self.add_runtime_dependency(other)

    main.service(Beside)
