"""The table of targets, and the worker that is built of one."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import faust
import prometheus_client
import pyarrow as pa

from agents.stream.stream_app import StreamApp, rebalance_timeout_s
from app.api.limits import CurrentLimits
from app.api.status.rings import ROLES, Role
from app.api.status.status import own_version
from app.api.tenants import TenantApi
from app.errors import StrettoError
from app.process import own_traces
from app.process.disk import show_disk
from app.process.log_format import logging_config
from app.process.loop_watch import LoopWatch
from app.process.memory_watch import MemoryWatch
from app.process.overrides import OverridesReader
from app.process.own_overrides_reader import OwnOverridesReader
from app.process.reload import ReloadOnSignal, SettingsReload
from app.process.shutdown import ExitDeadline, ShutdownDelay
from app.process.topics import ensure_topics, specs
from app.querying.no_queries import NoQueries
from app.settings import Settings, load
from app.settings.show import overrides_yaml
from app.targets import joined
from app.targets.consumer_watch import ConsumerWatch, StallLimits
from app.targets.internal import InternalListener
from app.targets.kafka_state import KafkaState
from app.targets.live_store import hand_over
from app.targets.member_rings import MemberRings
from app.targets.own_member import OwnMember, members_service
from app.targets.query_server import QueryServer
from app.targets.shared import Shared, Target, idle_app
from app.targets.tenant_api import tenant_api

_KAFKA_WAIT_S = 60.0
_SWITCH_INTERVAL_S = 0.0001


def app_from_environment() -> StreamApp:
    """What `faust -A app` runs. Wrong settings end the process with their text, without a traceback."""
    try:
        app = build(load(os.environ, Path.cwd()))
    except StrettoError as err:
        sys.exit(f"stretto: {err}")
    app.parts.insert(0, ExitDeadline())
    if threading.current_thread() is threading.main_thread():
        # Until `ReloadOnSignal` takes it: the settings have just been read.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return app


def build(settings: Settings) -> StreamApp:
    """The worker for `settings.target`. Opens no socket and no store: that happens when the app starts."""
    tune()
    shared = Shared.of(settings)
    return _worker(settings, shared, joined.build(settings, shared))


def _worker(settings: Settings, shared: Shared, target: Target) -> StreamApp:
    """The first app of the target with all others beside it, and what every process has: the server of the API, the
    watchdogs, and the settings of tenants, which are read again and again.
    """
    show_disk(settings.own_dir)
    consumers, overrides = shared.consumers, shared.overrides
    backend = target.backend or NoQueries(consumers.problems, settings.target)
    own = OwnMember(
        settings.members, target.apps, consumers.ends, target.live, shared.internal, further_targets=target.further
    )
    own.partitions_written = target.partitions_written
    rings = MemberRings(shared.members, own)

    reader = OwnOverridesReader(settings, overrides) if _users_may_set(settings) else None
    file_reader = OverridesReader(overrides, settings.overrides.per_tenant_override_period_s)
    reload = SettingsReload(settings, partial(load, os.environ, Path.cwd()), overrides)
    reload.use(lambda now: setattr(file_reader, "period_s", now.overrides.per_tenant_override_period_s))

    def tenants(limits: CurrentLimits) -> TenantApi:
        return tenant_api(limits, shared, reader)

    def runtime() -> str:
        return overrides_yaml(overrides.tenants())

    async def make_topics() -> None:
        await ensure_topics(shared.kafka, specs(settings), _KAFKA_WAIT_S)
        gc.collect()
        gc.freeze()  # what is there now stays: full collections need not look at it

    worker, *others = target.apps.values() or [idle_app(settings, shared)]
    if settings.log_format != "text":
        worker.conf.logging_config = logging_config(settings.log_format, settings.log_level)
    own.leaving = lambda: worker.leaving or worker.should_stop
    delay = ShutdownDelay(settings.shutdown_delay)
    worker.before_stop += [delay.begin, delay.rest]
    if target.live is not None:
        worker.before_stop.insert(1, hand_over(settings, shared, target.apps["live-store"], target.live).run)
    watch = _consumer_watch(settings, shared, target)
    worker.before_start[:0] = [watch.begin, make_topics] if target.apps else [make_topics]
    server = QueryServer(settings, backend, rings, runtime, tenants, reload)
    server.stopping = own.leaving
    # First in and last out: who asks for partitions that are leaving finds out why.
    worker.parts.insert(0, members_service(settings, shared.kafka, own, shared.members))
    worker.parts += [
        InternalListener(shared.internal),
        *([reader] if reader is not None else []),
        server,
        ReloadOnSignal(reload),
        *target.servers,
        watch,
        LoopWatch(),
        MemoryWatch(),
        file_reader,
    ]
    if settings.tracing.enabled:
        own_traces.check(settings)
        worker.parts.append(own_traces.OwnTraces(settings, shared.internal.member_id, own_version()))
    for other in others:
        _run_in_same_worker(worker, other)
    return worker


def _users_may_set(settings: Settings) -> bool:
    return settings.overrides.user_configurable_overrides.enabled


def _consumer_watch(settings: Settings, shared: Shared, target: Target) -> ConsumerWatch:
    kafka = settings.kafka
    stall_s = max(kafka.consume_stall_s, 1.2 * rebalance_timeout_s(kafka.session_timeout_s) + 1)
    others: dict[Role, Sequence[str]] = {"compactor": [kafka.compaction_topic], **target.topics}
    topics: dict[Role, Sequence[str]] = {role: others.get(role, [kafka.topic]) for role in ROLES}
    state = KafkaState(shared.kafka)
    return ConsumerWatch(state, target.apps, topics, shared.consumers, StallLimits(stall_s, kafka.start_stall_s))


def _run_in_same_worker(worker: StreamApp, other: StreamApp) -> None:
    """A second Faust app, with a consumer group of its own."""

    class OtherApp(faust.Service):  # type: ignore[misc]  # Faust has no types here
        async def on_start(self) -> None:
            await self.add_runtime_dependency(other)

    worker.service(OtherApp)


def tune() -> None:
    """Arrow's own threads off: work is spread by our pools.

    A garbage collection looks at all young objects while no other thread can run: with the answer of a query, millions
    of them, it took 440 ms. So the young ones are few, 20,000 at most, which takes 10 ms. Full collections, which look
    at everything that was made since the start, come after 20 million objects.

    A thread that waits for the GIL while a query's thread computes waits for the switch interval, by default 5 ms. The
    event loop releases the GIL with each call of Arrow or the system, so it would wait several times in all that it
    does.
    """
    pa.set_cpu_count(1)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    gc.set_threshold(2_000, 10, 1_000)
