"""The process as a member of the cluster: what it tells the others, and how it learns of them."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agents.live_store.partition_manager import PartitionManager
from agents.members.directory import MemberDirectory, MemberTimes
from agents.members.member import Member, MemberState, OffsetRange
from agents.members.service import MembersService
from agents.members.topic import MembersTopic, topic_of
from agents.stream.kafka_client import KafkaClient
from agents.stream.leader_topic import LEADER_TOPIC_END
from agents.stream.stream_app import StreamApp
from agents.stream.topic_ends import TopicEnds
from app.api.status.rings import Role
from app.api.status.status import own_version
from app.settings import Settings
from app.settings.sections.members import Members as MembersSettings
from app.targets.internal import Internal

LIVE_STORE: Final = "live-store"


def new_member_id() -> str:
    """Of this start of this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def member_directory(settings: MembersSettings) -> MemberDirectory:
    """Who is there: empty until the process reads the topic of members."""
    times = MemberTimes(settings.heartbeat_timeout, settings.forget_timeout)
    return MemberDirectory(times, step_s=1.5 * settings.heartbeat_period)


class OwnMember:
    """Makes this process's member as of now. Belongs to the event loop."""

    def __init__(
        self,
        settings: MembersSettings,
        apps: Mapping[Role, StreamApp],
        ends: TopicEnds,
        live: PartitionManager | None,
        internal: Internal,
        *,
        further_targets: Sequence[str] = (),
    ) -> None:
        """apps: the Faust apps by role. further_targets: what the process runs besides, without a Faust app"""
        self.member_id, self._internal = internal.member_id, internal
        self.partitions_written: Callable[[], int] = lambda: 0
        self.leaving: Callable[[], bool] = lambda: any(app.should_stop for app in apps.values())
        self._zone = settings.zone
        self._apps, self._ends, self._live = apps, ends, live
        self._targets = frozenset([*apps, *further_targets])
        self._version = own_version()
        self._started_ns = time.time_ns()

    def now(self) -> Member:
        """As it is announced."""
        return Member(
            member_id=self.member_id,
            targets=self._targets,
            address=self._internal.address,
            zone=self._zone if LIVE_STORE in self._targets else "",
            version=self._version,
            started_ns=self._started_ns,
            heartbeat_ns=time.time_ns(),
            state=MemberState.LEAVING if self.leaving() else MemberState.ACTIVE,
            partitions={} if self._live is None else _ranges(self._live, self._ends),
            services=self.services(),
            assigned={role: _assigned(app) for role, app in self._apps.items()},
            partition_count=0 if self._live is None else self._live.partition_count,
            partitions_written=self.partitions_written(),
            record_counts=() if self._live is None else tuple(sorted(self._live.record_counts())),
        )

    def services(self) -> dict[str, str]:
        """What the process runs, and the state of each: Starting, Running, Stopping."""
        return {role: self._service(role, app) for role, app in self._apps.items()}

    def _service(self, role: Role, app: StreamApp) -> str:
        if app.should_stop or self.leaving():
            return "Stopping"
        catching_up = role == LIVE_STORE and self._live is not None and self._live.not_ready()
        return "Running" if app.started and not catching_up else "Starting"


def members_service(settings: Settings, kafka: KafkaClient, own: OwnMember, known: MemberDirectory) -> Any:
    """What announces `own` and fills `known`."""
    topic = MembersTopic(topic_of(settings.kafka.consumer_group_prefix), kafka)
    return MembersService(topic, known, own.now, settings.members.heartbeat_period)


def _ranges(manager: PartitionManager, ends: TopicEnds) -> dict[int, OffsetRange]:
    if manager.store is None:
        return {}
    return {
        number: OffsetRange(
            state.flushed_offset, state.next_offset, state.flushed_offset, ends.end(manager.topic, number)
        )
        for number, state in sorted(manager.store.partitions.items())
    }


def _assigned(app: StreamApp) -> tuple[int, ...]:
    """The partitions that the consumer group has given to this process."""
    if not app.started or not app.consumer.connected:
        return ()
    return tuple(sorted(tp.partition for tp in app.consumer.assignment() if not tp.topic.endswith(LEADER_TOPIC_END)))
