"""What a partition of the live store asks to be done, one job after the other: seal, mark, flush."""

from dataclasses import dataclass

from tables.live.head import Head
from tables.live.shared_records import SharedRecords
from tables.wire.split import SEVERAL


@dataclass(eq=False, slots=True)
class SealJob:
    """Turn a head into a segment. shared: the decoder of records that other heads of the same cut share"""

    tenant: str
    head: Head
    first_timestamp_ms: int
    last_timestamp_ms: int
    shared: SharedRecords
    partition_count: int = SEVERAL

    @property
    def first_offset(self) -> int:
        return self.head.records[0].offset

    @property
    def last_offset(self) -> int:
        return self.head.records[-1].offset


@dataclass(frozen=True, slots=True)
class MarkJob:
    """Store the sealed offset, once the jobs before this one are done."""

    offset: int


@dataclass(frozen=True, slots=True)
class FlushJob:
    """Write the segments of first_offset … last_offset as blocks."""

    first_offset: int
    last_offset: int


Job = SealJob | MarkJob | FlushJob
