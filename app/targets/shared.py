"""What the targets of a process share, and what each of them gives to it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Self

import faust

from agents.distributor.usage import UsageTracker
from agents.live_store.partition_manager import PartitionManager
from agents.members.directory import MemberDirectory
from agents.stream.consumer_report import ConsumerReport
from agents.stream.kafka_client import KafkaClient
from agents.stream.stream_app import StreamApp, new_app
from app.api.backend import Backend
from app.api.status.rings import Role
from app.process.kafka import kafka_client
from app.process.overrides import OverridesFile
from app.settings import Settings
from app.targets.internal import Internal
from app.targets.own_member import member_directory, new_member_id


@dataclass(frozen=True, slots=True)
class Shared:
    """One for a process, made before its targets."""

    overrides: OverridesFile  # settings of single tenants
    consumers: ConsumerReport
    members: MemberDirectory  # who is there, this process included
    internal: Internal  # how processes call each other
    kafka: KafkaClient
    usage: UsageTracker | None = None  # what /usage_metrics shows; None: nothing

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises: StrettoError if a file that the settings name is wrong, of overrides or of secrets."""
        costs = settings.distributor.usage.cost_attribution
        return cls(
            OverridesFile(settings, os.environ),
            ConsumerReport(),
            member_directory(settings.members),
            Internal(settings, new_member_id()),
            kafka_client(settings.kafka),
            UsageTracker(costs.max_cardinality, costs.stale_duration) if costs.enabled else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a target runs. Nothing is open yet: that happens when the worker starts."""

    # Its Faust apps, by what they do: each is a member of a consumer group. The first is the worker itself.
    apps: Mapping[Role, StreamApp]
    # What they read, where it is not topic `spans` alone; lists that may change while they run.
    topics: Mapping[Role, Sequence[str]] = field(default_factory=dict)
    servers: Sequence[faust.Service] = field(default=())  # they start last and stop first
    backend: Backend | None = None  # answers queries; None: this target answers none
    live: PartitionManager | None = None  # the partitions whose recent spans are here
    partitions_written: Callable[[], int] = int  # among how many partitions it splits traces; 0: it writes none
    further: Sequence[str] = ()  # what it runs besides, without a Faust app


IDLE: Final = "queries"


def stream_app(settings: Settings, shared: Shared, role: Role | Literal["queries"]) -> StreamApp:
    """The Faust app for one role, a member of the consumer group of that name. Live stores of each zone are a group of
    their own, so that each zone has all partitions.
    """
    kafka, zone = settings.kafka, settings.members.zone
    return new_app(
        f"{kafka.consumer_group_prefix}-{role}{f'-{zone}' if zone and role == 'live-store' else ''}",
        kafka=shared.kafka,
        datadir=settings.own_dir / "faust" / role,
        session_timeout_s=kafka.session_timeout_s,
        message_bytes_max=kafka.max_message_bytes,
        keeps_partitions=role in ("live-store", "metrics-generator"),
        elects_leader=role == "compactor",
        decompressed_bytes_max=kafka.decompressed_bytes_max,
    )


def idle_app(settings: Settings, shared: Shared) -> StreamApp:
    """The Faust app of a process that consumes nothing, and only has servers."""
    app = stream_app(settings, shared, IDLE)
    app.boot_strategy.enable_kafka = False
    return app
