"""What an agent tells its Faust app of the partitions that it reads."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from faust.types import TP


class PartitionOwner(Protocol):
    """Does the work on an app's partitions, and so knows where to read on, and how far it is."""

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Takes up the partitions that are assigned now, instead of those before. Returns the offset to read each from;
        one that is missing is read from what is committed.
        """
        ...

    async def emptied(self) -> None:
        """No partition is assigned now: lets go of those before. It may come again and again."""
        ...

    def taken(self) -> Mapping[TP, int]:
        """The first offset of each partition that is not taken yet."""
        ...

    def waits(self) -> Mapping[int | None, str]:
        """Why no records are taken now, by partition; under None, why of none."""
        ...


class NoOwner:
    """Of an app without an agent that knows its partitions: they are read from what is committed."""

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:  # noqa: ARG002 (as PartitionOwner)
        """Leaves it to what is committed."""
        return {}

    async def emptied(self) -> None:
        """There is nothing to let go of."""

    def taken(self) -> Mapping[TP, int]:
        """An owner that tracks no offsets answers with an empty mapping."""
        return {}

    def waits(self) -> Mapping[int | None, str]:
        """An owner that never holds records back answers with an empty mapping."""
        return {}
