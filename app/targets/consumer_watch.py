"""Watches the consumers of this process: makes one anew that does not consume, else ends the process.

aiokafka and Faust have states in which a consumer is in no group and says nothing, for ever (docs/adr/0012).
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import faust
from faust.types import TP
from prometheus_client import Counter, Gauge

from agents.stream.consumer_watchdog import Action, ConsumerWatchdog, Seen, Verdict
from agents.stream.stream_app import StreamApp
from agents.stream.topic_ends import TopicEnds, lag
from app.api.status.rings import Role
from app.targets.kafka_state import KafkaSilent, KafkaState, Member

log = logging.getLogger(__name__)

LAG: Final = Gauge(
    "stretto_consumer_lag_records",
    "Records of a partition that the consumer has not read yet, up to the end offset that Kafka reports.",
    ["app", "topic", "partition"],
)
REBUILDS: Final = Counter(
    "stretto_consumer_rebuilds_total", "Consumers that were rebuilt because they stopped reading.", ["app", "reason"]
)
SILENT: Final = Counter(
    "stretto_kafka_silent_total", "Times that Kafka did not answer when asked for end offsets or group members."
)

_LOOK_S: Final = 1.0
_GROUPS_EVERY: Final = 3  # looks
EXIT_STATUS: Final = 70


class ConsumerWatch(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One for a process."""

    def __init__(
        self,
        kafka: KafkaState,
        apps: Mapping[Role, StreamApp],
        topics: Mapping[Role, str],
        ends: TopicEnds,
        stall_s: float,
        end_process: Callable[[str], None] | None = None,
        **kwargs: Any,
    ) -> None:
        """apps, topics: by role, the Faust app and the topic that it consumes. ends: is told what Kafka says"""
        super().__init__(**kwargs)
        self._kafka, self._apps, self._topics, self._ends = kafka, apps, topics, ends
        self._stall_s = stall_s
        self._end_process = end_process or _end_process
        self._dogs: dict[Role, ConsumerWatchdog] = {}
        self._members: dict[Role, Mapping[str, Member]] = {}
        self._known: dict[TP, int] = {}
        self._shown: dict[Role, set[TP]] = {}  # whose lag is a metric
        self._problems: dict[Role, tuple[str, ...]] = {}
        self._rebuilding: dict[Role, asyncio.Task[None]] = {}

    def problems(self) -> list[str]:
        """What does not consume, and why, for /ready."""
        return [f"{role}: {text}" for role, texts in self._problems.items() for text in texts]

    @faust.Service.task
    async def _watch(self) -> None:
        looks = 0
        while not self.should_stop:
            try:
                await self._look(with_groups=looks % _GROUPS_EVERY == 0)
            except Exception:
                log.exception("the watchdog of consumers goes on after an error")
            looks += 1
            await self.sleep(_LOOK_S)

    async def on_stop(self) -> None:
        """Asks Kafka no more."""
        for task in self._rebuilding.values():
            task.cancel()
        await self._kafka.close()

    async def _look(self, *, with_groups: bool) -> None:
        ends: dict[TP, int] | None = None
        try:
            ends = await self._kafka.ends(sorted({self._topics[role] for role in self._apps}))
            if with_groups:
                self._members = {}
                for role, app in self._apps.items():
                    self._members[role] = await self._kafka.members(app.conf.id)
        except KafkaSilent as err:
            SILENT.inc()
            self._members = {}
            log.debug("Kafka did not say where topics end: %s", err)
        now_s = time.monotonic()
        for tp, end in (ends or {}).items():
            self._ends.note(tp.topic, tp.partition, end, now_s)
            self._known[tp] = end
        for role, app in self._apps.items():
            if app.started and not app.should_stop and app.consumer.subscribed:
                self._judge(role, app, ends, now_s)

    def _judge(self, role: Role, app: StreamApp, ends: Mapping[TP, int] | None, now_s: float) -> None:
        seen = self._seen(role, app, ends, now_s)
        self._show_lags(role, seen)
        if role in self._rebuilding:
            return  # has its own limit of time
        dog = self._dogs.setdefault(role, ConsumerWatchdog(self._stall_s))
        verdict = dog.look(now_s, seen)
        self._problems[role] = verdict.problems
        if verdict.action is Action.END:
            self._end_process(f"{role}: {verdict.text}; a new consumer did not help, or cannot be made")
        elif verdict.action is Action.REBUILD:
            self._rebuilding[role] = asyncio.ensure_future(self._rebuild(role, app, verdict))

    def _show_lags(self, role: Role, seen: Seen) -> None:
        shown = {tp for tp in seen.assigned if tp in seen.taken and tp in self._known}
        for tp in self._shown.get(role, set()) - shown:
            LAG.remove(role, tp.topic, str(tp.partition))  # another worker shows it
        self._shown[role] = shown
        for tp in shown:
            late = lag(seen.taken[tp], tp.topic, tp.partition, self._known)
            LAG.labels(role, tp.topic, tp.partition).set(late)

    def _seen(self, role: Role, app: StreamApp, ends: Mapping[TP, int] | None, now_s: float) -> Seen:
        consumer, members = app.consumer, self._members.get(role)
        member = None if members is None else members.get(consumer.member_id())
        return Seen(
            failure=consumer.failure,
            thread_late_s=now_s - consumer.beat_s,
            member=None if members is None else member is not None,
            owned=None if member is None else member.partitions,
            assigned=frozenset(TP(tp.topic, tp.partition) for tp in consumer.assignment()),
            taken=app.progress(),
            ends=ends,
            waits=app.waits(),
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
            log.warning("%s has a new consumer after %.1f s", role, time.monotonic() - started_s)
        finally:
            del self._rebuilding[role]


def _end_process(text: str) -> None:
    """At once: whatever hangs would hang an orderly end too, and all that was acknowledged is in Kafka."""
    log.critical("this process ends, to be started again: %s", text)
    logging.shutdown()
    os._exit(EXIT_STATUS)
