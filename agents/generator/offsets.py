"""How far partitions are counted, and what Kafka keeps of it."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pyarrow as pa

from agents.stream.span_record import parts_of
from tables.errors import WireError
from tables.wire import record


class Position(NamedTuple):
    """How far a partition is counted. waited_ms: unpaired spans have waited until then, by Kafka's clock.

    ownership: tells the times apart in which we had the partition and nobody else
    """

    ownership: int
    next_offset: int
    waited_ms: int


class CommitMetadata(NamedTuple):
    """What is committed with an offset: the position's time, the collection's number, and whose it is."""

    waited_ms: int
    number: int
    instance: str

    def __str__(self) -> str:
        return f"{self.waited_ms} {self.number} {self.instance}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None for what is no note of ours."""
        waited_ms, _, rest = text.partition(" ")
        number, _, instance = rest.partition(" ")
        if not (waited_ms.isdecimal() and number.isdecimal()):
            return None
        return cls(int(waited_ms), int(number), instance)


@dataclass(eq=False, slots=True)
class Partition:
    """One that is ours.

    recall_offset: records from here to next_offset were counted before we began; their unpaired spans are read again
    clock_ms: when its youngest record came to Kafka; read_ms: when that was read, by our clock
    """

    ownership: int
    next_offset: int
    recall_offset: int
    waited_ms: int = 0
    clock_ms: int = 0
    read_ms: int = 0

    @property
    def recalling(self) -> bool:
        return self.recall_offset < self.next_offset

    @property
    def position(self) -> Position:
        return Position(self.ownership, self.next_offset, self.waited_ms)

    def wait_until(self, now_ms: int) -> bool:
        """Nothing came until now: unpaired spans have waited so long. False: not known while the past is read."""
        if self.recalling or not self.read_ms:
            return False
        # Never back, whatever our clock does: what has expired must not be read again after a restart.
        self.waited_ms = max(self.waited_ms, self.clock_ms + now_ms - self.read_ms)
        return True


def tenants_of(message: Any) -> list[tuple[str, pa.RecordBatch]]:
    """Each tenant's spans in a record. Raises: WireError, and whatever libraries do with bytes that are no record."""
    info, parts = parts_of(message)
    spans = record.decode(message.value)
    if not info.runs:
        return [(parts[0].tenant, spans)]
    if len(spans) != info.spans:
        raise WireError(f"{len(spans)} spans, its headers say {info.spans}")
    return [(part.tenant, spans.slice(part.first_row, part.spans)) for part in parts]
