"""A process of the cluster, as the others see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

_NO_PARTITIONS: Final[Mapping[int, "OffsetRange"]] = MappingProxyType({})


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


class Members(Protocol):
    """Who is there, as far as this process knows."""

    def alive(self, target: str) -> Sequence[Member]:
        """The processes with a target that are ACTIVE, in a stable order: by member id."""
        ...

    def all(self) -> Sequence[Member]:
        """All that are not forgotten, UNHEALTHY ones included, by member id."""
        ...
