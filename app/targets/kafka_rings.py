"""The workers of each role: Kafka's members of its consumer group, and what this process knows of itself."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError

from agents.live_store.partition_manager import PartitionManager
from agents.stream.kafka_client import KafkaClient
from agents.stream.stream_app import LEADER_TOPIC_END, StreamApp
from agents.stream.topic_ends import TopicEnds
from app.api.status.rings import PartitionOffsets, Ring, Role, State, Worker

log = logging.getLogger(__name__)

_WAIT_S: Final = 2.0
# Pages that are loaded again and again ask Kafka no more often.
_KEEP_S: Final = 2.0
_AWAY: Final = "Kafka did not say who else is there; only this process is shown"


class _Members(NamedTuple):
    at_s: float
    state: str
    members: Sequence[Any]
    problem: str


class KafkaRings:
    """One for a process; belongs to its event loop."""

    def __init__(
        self,
        kafka: KafkaClient,
        group_prefix: str,
        apps: Mapping[Role, StreamApp],
        ends: TopicEnds,
        live: PartitionManager | None = None,
    ) -> None:
        """group_prefix: of consumer groups. apps: the roles that this process has. ends: where topics end.
        live: the partitions of this process, if it has a live store
        """
        self._ends, self._live = ends, live
        self._kafka, self._prefix, self._apps = kafka, group_prefix, apps
        self._since_s = time.time()
        self._admin: Any = None
        self._known: dict[Role, _Members] = {}
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Closes the connection to Kafka."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await admin.close()

    async def ring(self, role: Role) -> Ring:
        """Within seconds, whatever is away: then this process alone, and why."""
        found = await self._members(role)
        own = self._own(role)
        workers = [_worker(role, found.state, member) for member in found.members]
        others = [one for one in workers if own is None or one.id != own.id]
        if own is not None:
            known = next((one for one in workers if one.id == own.id), None)
            address = "" if known is None else known.address
            partitions = own.partitions if own.offsets or known is None else known.partitions
            own = Worker(own.id, role, address, own.state, partitions, True, self._since_s, own.offsets)
        return Ring(([] if own is None else [own]) + others, found.problem)

    def services(self) -> Mapping[str, str]:
        """The roles that this process has, and the state of each."""
        return {role: self._state(role, app) for role, app in self._apps.items()}

    def _state(self, role: Role, app: StreamApp) -> str:
        if app.should_stop:
            return "Stopping"
        catching_up = role == "live-store" and self._live is not None and self._live.not_ready()
        return "Running" if app.started and not catching_up else "Starting"

    async def _members(self, role: Role) -> _Members:
        async with self._lock:
            now_s = time.monotonic()
            known = self._known.get(role)
            if known is None or now_s - known.at_s > _KEEP_S:
                known = self._known[role] = await self._ask(role)
            return known

    async def _ask(self, role: Role) -> _Members:
        try:
            async with asyncio.timeout(_WAIT_S):
                if self._admin is None:
                    self._admin = AIOKafkaAdminClient(**self._kafka.arguments(), request_timeout_ms=int(_WAIT_S * 1000))
                    await self._admin.start()
                (answer,) = await self._admin.describe_consumer_groups([f"{self._prefix}-{role}"])
        except (KafkaError, OSError, TimeoutError) as err:
            log.warning("Kafka did not say who is in the group of %ss: %r", role, err)
            await self._forget_admin()
            return _Members(time.monotonic(), "", (), _AWAY)
        _, _, state, _, _, members, *_ = answer.groups[0]
        return _Members(time.monotonic(), state, members, "")

    async def _forget_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            try:
                async with asyncio.timeout(_WAIT_S):
                    await admin.close()
            except (KafkaError, OSError, TimeoutError) as err:
                log.debug("closing a connection to Kafka: %r", err)

    def _own(self, role: Role) -> Worker | None:
        """What this process is, if it has the role."""
        app = self._apps.get(role)
        if app is None:
            return None
        member = app.consumer.member_id() if app.started else ""
        if role != "live-store" or self._live is None:
            state: State = "ACTIVE" if member else "JOINING"
            return Worker(member, role, "", state, ())
        held = _offsets(self._live, self._ends)
        state = "LEAVING" if self._live.closing.is_set() else "JOINING" if self._live.not_ready() else "ACTIVE"
        return Worker(member, role, "", state, [one.partition for one in held], offsets=held)


def _offsets(manager: PartitionManager, ends: TopicEnds) -> list[PartitionOffsets]:
    store = manager.store
    if store is None:
        return []
    return [
        PartitionOffsets(number, state.next_offset, ends.end(manager.topic, number), state.flushed_offset)
        for number, state in sorted(store.partitions.items())
    ]


def _worker(role: Role, group_state: str, member: Sequence[Any]) -> Worker:
    """member: of a DescribeGroupsResponse"""
    member_id, _, host, _, assignment = member[:5]
    partitions: list[int] = []
    if assignment:
        for topic, numbers in ConsumerProtocolMemberAssignment.decode(assignment).assignment:
            if not topic.endswith(LEADER_TOPIC_END):
                partitions += numbers
    state: State = "ACTIVE" if group_state == "Stable" and assignment else "JOINING"
    return Worker(member_id, role, host.removeprefix("/"), state, partitions)
