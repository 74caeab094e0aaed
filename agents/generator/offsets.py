"""Counted offsets of partitions, and the metadata that Kafka stores with a commit."""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pyarrow as pa

from agents.stream.span_record import parts_of
from tables.errors import WireError
from tables.wire.request_records import decode_record


def now_ms() -> int:
    """Our time, in unix milliseconds."""
    return int(time.time() * 1000)


class Position(NamedTuple):
    """How far a partition is counted. waited_ms: the time, by Kafka's clock, up to which unpaired spans have waited

    ownership: a number for each period in which this worker owns the partition without a break
    """

    ownership: int
    next_offset: int
    waited_ms: int


class CommitMetadata(NamedTuple):
    """Text that is committed with an offset: the position's time, the collection's number, and the worker."""

    waited_ms: int
    number: int
    instance: str

    def __str__(self) -> str:
        return f"{self.waited_ms} {self.number} {self.instance}"

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The metadata in a commit; None if the text is not ours."""
        waited_ms, _, rest = text.partition(" ")
        number, _, instance = rest.partition(" ")
        if not (waited_ms.isdecimal() and number.isdecimal()):
            return None
        return cls(int(waited_ms), int(number), instance)


@dataclass(eq=False, slots=True)
class Partition:
    """A partition of this worker.

    recall_offset: records from here to next_offset were counted before the start; the generator reads them again for
    their unpaired spans only
    clock_ms: Kafka's timestamp of the newest record; read_ms: our time when it was read
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
        """No record arrived until now_ms, so unpaired spans have waited until then. False: unknown while old records
        are read again.
        """
        if self.recalling or not self.read_ms:
            return False
        # Never goes back, whatever our clock does: expired spans must not be read again after a restart.
        self.waited_ms = max(self.waited_ms, self.clock_ms + now_ms - self.read_ms)
        return True


def tenants_of(message: Any) -> list[tuple[str, pa.RecordBatch]]:
    """The spans of each tenant in a record. Raises: WireError, and any error of the libraries that read the bytes"""
    info, parts = parts_of(message)
    spans = decode_record(message.value, info)
    if not info.runs:
        return [(parts[0].tenant, spans)]
    if len(spans) != info.spans:
        raise WireError(f"{len(spans)} spans, its headers say {info.spans}")
    return [(part.tenant, spans.slice(part.first_row, part.spans)) for part in parts]
