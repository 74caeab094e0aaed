"""Records of requests (version 3) wait here, so that many are decoded together: alone each takes a millisecond."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import pyarrow as pa

from agents.stream.span_record import TenantPart
from tables.errors import WireError
from tables.wire.record import decoded_bytes
from tables.wire.request_records import RequestRecord, decode_records

log = logging.getLogger(__name__)

# Decoding so much takes the event loop some milliseconds.
_RECORDS_MAX: Final = 64
_BYTES_MAX: Final = 256 << 10


class WaitingRecord(NamedTuple):
    """offset and time_ms: Kafka's; value: as it came; parts: its tenants"""

    offset: int
    time_ms: int
    value: bytes
    parts: Sequence[TenantPart]

    @property
    def spans(self) -> int:
        """As the headers say."""
        return sum(part.spans for part in self.parts)


class ReadRecord(NamedTuple):
    """spans: of each tenant; problem: why there are none"""

    record: WaitingRecord
    spans: list[tuple[str, pa.RecordBatch]]
    problem: WireError | None = None


@dataclass(slots=True)
class RequestRecords:
    """Of one partition, in the order of their offsets."""

    _waiting: list[WaitingRecord] = field(default_factory=list)
    _bytes: int = 0

    def add(self, record: WaitingRecord) -> bool:
        """Out: whether it is time to read."""
        self._waiting.append(record)
        self._bytes += decoded_bytes(record.value)
        return len(self._waiting) >= _RECORDS_MAX or self._bytes >= _BYTES_MAX

    def read(self) -> list[ReadRecord]:
        """All that waits, decoded; none waits afterwards."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        decoded = decode_records([RequestRecord(one.value, one.spans) for one in waiting])
        found: list[ReadRecord] = []
        for number, one in enumerate(waiting):
            if (problem := decoded.problems.get(number)) is not None:
                found.append(ReadRecord(one, [], problem))
                continue
            batch, row = decoded.place[number]
            spans = decoded.batches[batch]
            found.append(
                ReadRecord(one, [(part.tenant, spans.slice(row + part.first_row, part.spans)) for part in one.parts])
            )
        return found


def log_skipped(topic: str, partition: int, offset: int, err: BaseException) -> None:
    """Says that a record is not counted, and why."""
    foreseen = isinstance(err, WireError)  # a traceback would say nothing more
    said = err if foreseen else f"{type(err).__name__}: {err}"
    log.warning("skipped %s[%d]@%d: %s", topic, partition, offset, said, exc_info=None if foreseen else err)
