"""A process of the cluster, as the others see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

_NO_PARTITIONS: Final[Mapping[int, "OffsetRange"]] = MappingProxyType({})
_NO_SERVICES: Final[Mapping[str, str]] = MappingProxyType({})
_NOTHING_ASSIGNED: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType({})


class MemberState(StrEnum):
    """ACTIVE and LEAVING a process says of itself. UNHEALTHY a reader says of one that has not been heard of."""

    ACTIVE = "ACTIVE"
    LEAVING = "LEAVING"
    UNHEALTHY = "UNHEALTHY"


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets of a partition that a live store can answer for: from `first`, below `end`."""

    first: int
    end: int
    flushed: int = 0  # everything below is in blocks, as far as this live store knows
    topic_end: int | None = None  # where the partition ends, as Kafka said last; None: not known

    @property
    def lag(self) -> int | None:
        """Offsets that the live store has not read yet; None: not known."""
        return None if self.topic_end is None else max(0, self.topic_end - self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One start of one process.

    The partitions say who is worth asking. They are as old as the last heartbeat, so no answer may rest on them.
    """

    member_id: str  # unique per start of a process: host name, process id, random digits
    targets: frozenset[str]  # what the process runs: "live-store", "querier", …
    address: str  # host:port of its internal gRPC; "" where it has none
    zone: str  # of its live store: "" where there are no replicas, else "a", "b" …
    version: str
    started_ns: int  # Unix time, by the clock of the process
    heartbeat_ns: int  # Unix time of the last heartbeat, by the clock of the process
    state: MemberState
    # Of the live store; empty for others.
    partitions: Mapping[int, OffsetRange] = field(default_factory=lambda: _NO_PARTITIONS)
    # By target: Starting, Running or Stopping, and the partitions that its consumer group has given to it.
    services: Mapping[str, str] = field(default_factory=lambda: _NO_SERVICES)
    assigned: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _NOTHING_ASSIGNED)
    # How many partitions of topic `spans` the process knows of; 0: it does not say.
    partition_count: int = 0
    # Of a distributor: among how many it splits traces, or is about to; 0 for others.
    partitions_written: int = 0
    # Of a live store: among how many the writers of its records have split them; see `split.places_of`.
    record_counts: tuple[int, ...] = ()


class Members(Protocol):
    """Who is there, as far as this process knows."""

    def alive(self, target: str) -> Sequence[Member]:
        """The processes with a target that are ACTIVE, in a stable order: by member id."""
        ...

    def serving(self, target: str) -> Sequence[Member]:
        """As `alive`, with those that are LEAVING: they answer until they are gone."""
        ...

    def all(self) -> Sequence[Member]:
        """All that are not forgotten, UNHEALTHY ones included, by member id."""
        ...
