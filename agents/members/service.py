"""Announces this process on the topic of members, and reads there who else is there."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from agents.members.directory import MemberDirectory
from agents.members.member import Member, MemberState
from agents.members.record import encode
from agents.members.topic import MembersTopic

log = logging.getLogger(__name__)

HEARTBEATS = Counter("stretto_members_heartbeats_total", "Heartbeats of this process that Kafka has acknowledged.")
FAILURES = Counter(
    "stretto_members_failures_total", "Heartbeats of this process that Kafka did not take in time; it goes on trying."
)

_LOOK_S: Final = 0.2
_REPLAY_S: Final = 5.0
_LAST_WORDS_S: Final = 1.0


class MembersService(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """A part of the worker's Faust app: it starts first and stops last.

    A heartbeat goes out every period_s, and soon after something has changed that others want to know. When the
    process stops it says LEAVING, and at the very end removes itself.
    """

    def __init__(
        self,
        topic: MembersTopic,
        directory: MemberDirectory,
        snapshot: Callable[[], Member],
        period_s: float,
        **kwargs: Any,
    ) -> None:
        """snapshot: makes this process's member as of now; it is called five times a second"""
        super().__init__(**kwargs)
        self.directory = directory
        self._topic, self._snapshot, self._period_s = topic, snapshot, period_s
        self._replayed = asyncio.Event()
        self._sent: Member | None = None
        self._sent_s = 0.0

    async def on_start(self) -> None:
        """Waits some seconds for what the topic says already; without it others are known later."""
        self.add_future(self._topic.read(self.directory.take, self._when_replayed))
        try:
            async with asyncio.timeout(_REPLAY_S):
                await self._replayed.wait()
        except TimeoutError:
            log.warning("the topic %s is not read yet: who else is there will be known later", self._topic.name)

    def _when_replayed(self) -> None:
        self.directory.replayed = True
        self._replayed.set()

    @faust.Service.task
    async def _announce(self) -> None:
        while not self.should_stop:
            member = self._snapshot()
            due = time.monotonic() - self._sent_s >= self._period_s
            if due or self._sent is None or _told(member) != _told(self._sent):
                await self._heartbeat(member)
            if due:
                self.directory.show()
                await self._remove(self.directory.forget(), member)
            await self.sleep(_LOOK_S)

    async def _heartbeat(self, member: Member) -> None:
        try:
            await self._topic.write(member.member_id, encode(member))
        except (KafkaError, OSError, TimeoutError) as err:
            FAILURES.inc()
            log.warning("this process cannot announce itself now, trying again: %r", err)
        else:
            HEARTBEATS.inc()
            self._sent, self._sent_s = member, time.monotonic()

    async def _remove(self, gone: list[str], own: Member) -> None:
        """Takes the forgotten out of the topic, if it is this process's turn: the first of those that are there."""
        there = [one.member_id for one in self.directory.all() if one.state is not MemberState.UNHEALTHY]
        if not gone or min([*there, own.member_id]) != own.member_id:
            return
        for member_id in gone:
            try:
                await self._topic.write(member_id, None)
            except (KafkaError, OSError, TimeoutError) as err:
                log.warning("member %s stays in topic %s: %r", member_id, self._topic.name, err)
                return

    async def on_stop(self) -> None:
        """Removes this process, within a second."""
        member_id = self._snapshot().member_id
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._topic.write(member_id, None)
        except (KafkaError, OSError, TimeoutError) as err:
            log.warning("this process is gone, but others will miss it only later: %r", err)
        await self._topic.close()


def _told(member: Member) -> Member:
    """What is announced at once when it changes; offsets and times are not."""
    first = {number: replace(one, end=0, flushed=0, topic_end=None) for number, one in member.partitions.items()}
    return replace(member, heartbeat_ns=0, partitions=first)
