"""Watches the consumers of this process: makes one anew that does not consume, else ends the process.

aiokafka and Faust have states in which a consumer is in no group and says nothing, for ever (docs/adr/0012).
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import faust
from faust.types import TP
from prometheus_client import Counter, Gauge

from agents.stream.consumer_report import ConsumerReport
from agents.stream.consumer_watchdog import Action, ConsumerWatchdog, Seen, Verdict
from agents.stream.start_watchdog import Begun, StartWatchdog
from agents.stream.stream_app import StreamApp
from agents.stream.topic_ends import lag
from app.api.status.rings import Role
from app.process.await_stacks import waits_in
from app.targets.kafka_state import GroupMember, KafkaSilent, KafkaState

log = logging.getLogger(__name__)

LAG: Final = Gauge(
    "stretto_consumer_lag_records",
    "Records of a partition that the consumer has not read yet, up to the end offset that Kafka reports.",
    ["app", "topic", "partition"],
)
TEMPO_LAG: Final = Gauge(
    "tempo_ingest_group_partition_lag",
    "Records of a partition of topic spans that the consumer group has not read yet.",
    ["group", "partition"],
)
TEMPO_LAG_SECONDS: Final = Gauge(
    "tempo_ingest_group_partition_lag_seconds",
    "For how long the oldest record that is not read yet has been in the partition of topic spans, as far as this "
    "process knows.",
    ["group", "partition"],
)
REBUILDS: Final = Counter(
    "stretto_consumer_rebuilds_total", "Consumers that were rebuilt because they stopped reading.", ["app", "reason"]
)
SILENT: Final = Counter(
    "stretto_kafka_silent_total", "Times that Kafka did not answer when asked for end offsets or group members."
)

# Roles that consume topic `spans`, for which Tempo has groups.
_READ_SPANS: Final = ("live-store", "metrics-generator")
_LOOK_S: Final = 1.0
_GROUPS_EVERY: Final = 3  # looks
_TICK_S: Final = 0.5
_STOOD_S: Final = 3.0
_STARTING: Final = "_actually_start"  # of Faust's services
EXIT_STATUS: Final = 70


class StallLimits(NamedTuple):
    """How long a consumer may stand, and a start may take. consume_s: at least what a rebalance may take"""

    consume_s: float  # kafka.consume_stall_s
    start_s: float  # kafka.start_stall_s


class ConsumerWatch(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Looks after all consumers of a process, once a second."""

    def __init__(
        self,
        kafka: KafkaState,
        apps: Mapping[Role, StreamApp],
        topics: Mapping[Role, Sequence[str]],
        report: ConsumerReport,
        limits: StallLimits,
        end_process: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """apps, topics: by role, the Faust app and the topics that it consumes. report: gets what is found out"""
        super().__init__(**kwargs)
        self._kafka, self._apps, self._topics, self._report = kafka, apps, topics, report
        self._stall_s, self._start_s = limits.consume_s, limits.start_s
        self._end_process = end_process or _end_process
        self._dogs: dict[Role, ConsumerWatchdog] = {}
        self._members: dict[Role, Mapping[str, GroupMember]] = {}
        self._known: dict[TP, int] = {}
        # Of those that a topic gets later its group learns later.
        self._first: dict[str, frozenset[TP]] = {}
        self._shown: dict[Role, set[TP]] = {}  # whose lag is a metric
        self._rebuilding: dict[Role, asyncio.Task[None]] = {}
        self._starts: dict[Role, StartWatchdog] = {}
        self._watching: list[asyncio.Task[None]] = []
        self._stood = False  # this process, since the last look
        self._stood_s = -math.inf  # when that was noticed last
        self._asked_s: float | None = None  # when Kafka was asked for the ends that it told last

    async def begin(self) -> None:
        """Watches from now on, whether the start of the app goes on or not; until it is stopped as a part of it."""
        self._watching = [asyncio.ensure_future(work()) for work in (self._watch, self._tick)]

    async def _watch(self) -> None:
        looks = 0
        while True:
            try:
                suspects = any(dog.suspects for dog in self._dogs.values())
                await self._look(with_groups=suspects or looks % _GROUPS_EVERY == 0)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # By aiokafka, which does so where a connection ends at the wrong time.
                log.debug("a look at consumers was cancelled")
            except Exception:
                log.exception("the watchdog of consumers goes on after an error")
            looks += 1
            await asyncio.sleep(_LOOK_S)

    async def _tick(self) -> None:
        """Notes when this process stood: heartbeats did too, and consumers need time to join their groups again."""
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(_TICK_S)
            if time.monotonic() - before_s > _STOOD_S:
                self._stood, self._stood_s = True, time.monotonic()
                self._report.ends_outdated = True

    async def on_stop(self) -> None:
        """Gives up what is under way, and closes the connections to Kafka."""
        for task in (*self._watching, *self._rebuilding.values()):
            task.cancel()
        await self._kafka.close()

    async def _look(self, *, with_groups: bool) -> None:
        ends: dict[TP, int] | None = None
        try:
            ends = await self._told_ends()
            if with_groups:
                self._members = {}
                for role, app in self._apps.items():
                    self._members[role] = await self._kafka.members(app.conf.id)
        except KafkaSilent as err:
            SILENT.inc()
            self._members = {}
            log.debug("Kafka did not say where topics end: %s", err)
        now_s = time.monotonic()
        for topic in {tp.topic for tp in ends or ()} - self._first.keys():
            self._first[topic] = frozenset(tp for tp in ends or () if tp.topic == topic)
        stood, self._stood = self._stood, False
        for role, app in self._apps.items():
            if stood and role in self._dogs:
                self._dogs[role].begin_anew()
            if not app.should_stop and not app.leaving and self._has_begun(role, app, now_s, answers=ends is not None):
                self._judge(role, app, ends, now_s)

    async def _told_ends(self) -> dict[TP, int]:
        """What Kafka says, noted. Raises: KafkaSilent"""
        asked_s = time.monotonic()
        try:
            ends = await self._kafka.ends(sorted({topic for role in self._apps for topic in self._topics[role]}))
        finally:
            # Where Kafka is silent nobody knows better; and what nobody can write is not missed.
            self._report.ends_outdated = self._stood_s > asked_s
        written_s = asked_s if self._asked_s is None else self._asked_s
        for tp, end in ends.items():
            self._report.ends.note(tp.topic, tp.partition, end, written_s)
            self._known[tp] = end
        self._asked_s = asked_s
        return ends

    def _has_begun(self, role: Role, app: StreamApp, now_s: float, *, answers: bool) -> bool:
        """Whether it consumes, or should; where it has not begun in time the process ends."""
        begun = _begun(app)
        dog = self._starts.setdefault(role, StartWatchdog(self._start_s))
        verdict = dog.look(now_s, begun, kafka_answers=answers)
        if begun is not Begun.CONSUMES:
            self._report.set_problems(role, dog.problems)
        if verdict:
            loops = [app.consumer.thread_loop] if app.started else []
            places = "; ".join(waits_in(_STARTING, loops)) or "nowhere"
            self._end_process(f"{role}: {verdict}; the start waits in {places}")
        return begun is Begun.CONSUMES

    def _judge(self, role: Role, app: StreamApp, ends: Mapping[TP, int] | None, now_s: float) -> None:
        seen = self._seen(role, app, ends, now_s)
        self._show_lags(role, app.conf.id, seen, now_s)
        if role in self._rebuilding:
            return  # has its own limit of time
        dog = self._dogs.setdefault(role, ConsumerWatchdog(self._stall_s))
        verdict = dog.look(now_s, seen)
        self._report.set_problems(role, verdict.problems)
        if verdict.action is Action.END:
            self._end_process(f"{role}: {verdict.text}; a new consumer did not help, or cannot be made")
        elif verdict.action is Action.REBUILD:
            self._rebuilding[role] = asyncio.ensure_future(self._rebuild(role, app, verdict))

    def _show_lags(self, role: Role, group: str, seen: Seen, now_s: float) -> None:
        shown = {tp for tp in seen.assigned if tp in seen.taken and tp in self._known}
        for tp in self._shown.get(role, set()) - shown:  # another worker shows it
            LAG.remove(role, tp.topic, str(tp.partition))
            if role in _READ_SPANS:
                TEMPO_LAG.remove(group, str(tp.partition))
                TEMPO_LAG_SECONDS.remove(group, str(tp.partition))
        self._shown[role] = shown
        for tp in shown:
            late = lag(seen.taken[tp], tp.topic, tp.partition, self._known)
            LAG.labels(role, tp.topic, tp.partition).set(late)
            if role in _READ_SPANS:
                late_s = self._report.ends.unread_s(tp.topic, tp.partition, seen.taken[tp], now_s)
                TEMPO_LAG.labels(group, str(tp.partition)).set(late)
                TEMPO_LAG_SECONDS.labels(group, str(tp.partition)).set(late_s if late else 0.0)

    def _seen(self, role: Role, app: StreamApp, ends: Mapping[TP, int] | None, now_s: float) -> Seen:
        consumer, members = app.consumer, self._members.get(role)
        member = None if members is None else members.get(consumer.member_id())
        given = [one.partitions for one in (members or {}).values()]
        unowned: frozenset[TP] = frozenset()
        if ends is not None and given and not any(one is None for one in given):
            first = [self._first.get(topic, frozenset()) for topic in self._topics[role]]
            unowned = frozenset[TP]().union(*first).difference(*filter(None, given))
        return Seen(
            failure=consumer.failure,
            thread_late_s=now_s - consumer.beat_s,
            member=None if members is None else member is not None,
            owned=None if member is None else member.partitions,
            unowned=unowned,
            assigned=frozenset(TP(tp.topic, tp.partition) for tp in consumer.assignment()),
            taken=app.partition_owner.taken(),
            ends=ends,
            waits=app.partition_owner.waits(),
        )

    async def _rebuild(self, role: Role, app: StreamApp, verdict: Verdict) -> None:
        log.error("%s does not consume: %s; its consumer is made anew", role, verdict.text)
        REBUILDS.labels(role, verdict.reason).inc()
        started_s = time.monotonic()
        try:
            await app.consumer.rebuild()
        except Exception as err:  # noqa: BLE001  # the next verdict ends the process
            log.error("%s: no new consumer: %r", role, err)
        else:
            self._members.pop(role, None)  # they were asked for before
            log.warning("%s has a new consumer after %.1f s", role, time.monotonic() - started_s)
        finally:
            del self._rebuilding[role]


def _begun(app: StreamApp) -> Begun:
    if not app.started:
        return Begun.NOT_STARTED
    if app.consumer.subscribed:
        return Begun.CONSUMES
    return Begun.NOT_SUBSCRIBED if app.consumer.connected else Begun.STARTING


def _end_process(text: str) -> None:
    """At once: whatever hangs would hang an orderly end too, and all that was acknowledged is in Kafka."""
    log.critical("this process ends, to be started again: %s", text)
    logging.shutdown()
    os._exit(EXIT_STATUS)
