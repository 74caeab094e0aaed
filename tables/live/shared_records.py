"""Records in a head → spans. Of a shared record, a head holds only the rows of its own tenant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import ranges
from tables.errors import WireError
from tables.live.decode_together import GoOn, decode_together, joined, keep_going
from tables.wire import record
from tables.wire.request_records import RequestRecord, decode_records, trace_ids_in
from tables.wire.split import take_rows

# Size of records joined at a time, and size of decoded records kept for other tenants' heads; beyond that, records are
# decoded again.
_GROUP_BYTES: Final = 8 << 20
_KEPT_BYTES_MAX: Final = 128 << 20


class HeadRecord(NamedTuple):
    """One record of the topic, or a tenant's rows of a shared record.

    shared_spans: number of spans in the whole shared record; 0 if the record belongs to one tenant
    of_requests: whether the value holds OTLP requests, not columns (version 3)
    """

    offset: int
    spans: int
    value: bytes
    first_row: int = 0
    shared_spans: int = 0
    of_requests: bool = False

    @property
    def whole(self) -> RequestRecord:
        """The whole record, for the decoder of requests."""
        return RequestRecord(self.value, self.shared_spans or self.spans)

    @property
    def size_bytes(self) -> int:
        """Bytes of the value; of a shared record, this tenant's share."""
        size_bytes, whole = len(self.value), self.shared_spans
        return size_bytes * self.spans // whole if whole else size_bytes

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded spans, as the record declares."""
        size_bytes, whole = record.decoded_bytes(self.value), self.shared_spans
        return size_bytes * self.spans // whole if whole else size_bytes


class BadRecord(NamedTuple):
    """A record that was skipped, and why."""

    offset: int
    problem: str


@dataclass(eq=False, slots=True)
class _DecodedRecords:
    """Consecutive shared records, decoded. Records with the same columns form one batch.

    place: batch and first row of each record, by offset
    """

    records: list[HeadRecord] = field(default_factory=list)
    size_bytes: int = 0
    batches: list[pa.RecordBatch] = field(default_factory=list)
    place: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)

    def decode(self) -> "_DecodedRecords":
        """The same records with their batches."""
        done = _DecodedRecords(self.records, self.size_bytes)
        alike: dict[Any, list[tuple[int, pa.RecordBatch]]] = {}
        of_requests = [item for item in self.records if item.of_requests]
        if of_requests:
            decoded = decode_records([item.whole for item in of_requests])
            # Each tenant takes its rows out of each batch, and seals what it took batch by batch.
            done.batches, places = _fewer(decoded.batches)
            for number, (batch, row) in decoded.place.items():
                where, first_row = places[batch]
                done.place[of_requests[number].offset] = (where, first_row + row)
            done.problems |= {of_requests[number].offset: str(err) for number, err in decoded.problems.items()}
        for item in self.records:
            if item.of_requests:
                continue
            try:
                batch = decode_shared(item)
            except WireError as err:
                done.problems[item.offset] = str(err)
            else:
                alike.setdefault(batch.schema, []).append((item.offset, batch))
        for of_schema in alike.values():
            as_one = joined([batch for _, batch in of_schema])
            row = 0
            for at, (offset, batch) in enumerate(of_schema):
                number = len(done.batches)
                done.place[offset] = (number, row) if len(as_one) == 1 else (number + at, 0)
                row += len(batch)
            done.batches += as_one
        return done


class SharedRecords:
    """Decodes the shared records of heads that are sealed together, each once for all heads.

    It lives as long as the seal jobs of these heads. Not thread-safe.
    """

    def __init__(self, heads: Iterable[Sequence[HeadRecord]]) -> None:
        self._heads = list(heads)
        self._groups: list[_DecodedRecords] = []
        self._group_of: dict[int, int] = {}  # by offset
        self._kept: dict[int, _DecodedRecords] = {}
        self._kept_bytes = 0

    def spans_of(
        self, records: Iterable[HeadRecord], go_on: GoOn = keep_going
    ) -> tuple[list[pa.RecordBatch], list[BadRecord]]:
        """One tenant's rows of some shared records. A bad record is reported only for the first of its tenants."""
        if not self._groups:
            self._plan()
        by_group: dict[int, list[HeadRecord]] = {}
        for item in records:
            by_group.setdefault(self._group_of[item.offset], []).append(item)
        batches: list[pa.RecordBatch] = []
        bad: list[BadRecord] = []
        for number, items in by_group.items():
            go_on()
            group = self._group(number)
            runs: dict[int, list[tuple[int, int]]] = {}
            for item in items:
                found = group.place.get(item.offset)
                if found is not None:
                    runs.setdefault(found[0], []).append((found[1] + item.first_row, item.spans))
                elif not item.first_row:
                    bad.append(BadRecord(item.offset, group.problems[item.offset]))
            batches += [take_rows(group.batches[batch], _rows(of_batch)) for batch, of_batch in runs.items()]
        return batches, bad

    def _plan(self) -> None:
        by_offset = {item.offset: item for records in self._heads for item in records if item.shared_spans}
        for offset in sorted(by_offset):
            item = by_offset[offset]
            size = record.decoded_bytes(item.value)
            if not self._groups or self._groups[-1].size_bytes + size > _GROUP_BYTES:
                self._groups.append(_DecodedRecords())
            self._groups[-1].records.append(item)
            self._groups[-1].size_bytes += size
            self._group_of[offset] = len(self._groups) - 1

    def _group(self, number: int) -> _DecodedRecords:
        group = self._kept.get(number)
        if group is None:
            group = self._groups[number].decode()
            if self._kept_bytes + group.size_bytes <= _KEPT_BYTES_MAX:
                self._kept[number] = group
                self._kept_bytes += group.size_bytes
        return group


def spans_of(
    records: Sequence[HeadRecord], shared: SharedRecords | None = None, go_on: GoOn = keep_going
) -> tuple[list[pa.RecordBatch], list[BadRecord]]:
    """The spans of a head's records, in another order, and the unreadable records.

    shared: the decoder of shared records, if other heads need them too
    """
    of_several: list[HeadRecord] = []
    of_requests: list[HeadRecord] = []
    others: list[HeadRecord] = []
    for item in records:
        (of_several if item.shared_spans else of_requests if item.of_requests else others).append(item)
    batches, problems = decode_together([item.value for item in others], go_on)
    bad = [BadRecord(others[number].offset, str(err)) for number, err in sorted(problems.items())]
    if of_requests:
        decoded = decode_records([item.whole for item in of_requests], go_on)
        batches += decoded.batches
        bad += [BadRecord(of_requests[number].offset, str(err)) for number, err in decoded.problems.items()]
    if of_several:
        more, worse = (shared or SharedRecords([of_several])).spans_of(of_several, go_on)
        batches += more
        bad += worse
    return batches, bad


def _fewer(batches: Sequence[pa.RecordBatch]) -> tuple[list[pa.RecordBatch], list[tuple[int, int]]]:
    """Batches with the same columns as one; and of each batch its place there: number and first row."""
    alike: dict[Any, list[int]] = {}
    for number, batch in enumerate(batches):
        alike.setdefault(batch.schema, []).append(number)
    fewer: list[pa.RecordBatch] = []
    places = [(0, 0)] * len(batches)
    for numbers in alike.values():
        as_one = joined([batches[number] for number in numbers])
        row = 0
        for at, number in enumerate(numbers):
            places[number] = (len(fewer), row) if len(as_one) == 1 else (len(fewer) + at, 0)
            row += len(batches[number])
        fewer += as_one
    return fewer, places


def decode_shared(item: HeadRecord) -> pa.RecordBatch:
    """All spans of a shared record. Raises: WireError, also if their number differs from the headers"""
    return _as_many(item, record.decode(item.value))


def trace_ids_of(item: HeadRecord) -> pa.Array:
    """The trace ids of the tenant's spans in a record. Raises: WireError"""
    if item.of_requests:
        ids = trace_ids_in(item.whole)
        return ids.slice(item.first_row, item.spans) if item.shared_spans else ids
    ids = record.decode_trace_ids(item.value)
    return _as_many(item, ids).slice(item.first_row, item.spans) if item.shared_spans else ids


def _as_many(item: HeadRecord, rows: Any) -> Any:
    if len(rows) != item.shared_spans:
        raise WireError(f"{len(rows)} spans, its headers say {item.shared_spans}")
    return rows


def _rows(runs: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    starts, lengths = np.array(runs, np.int64).T
    return ranges(starts, lengths)
