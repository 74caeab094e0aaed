"""The head: records of one tenant and partition as they came, sealed later; shredded early only if a query asks."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from prometheus_client import Counter

from tables.errors import WireError
from tables.in_memory import TableSource
from tables.lists import fixed_bytes
from tables.live.shared import BadRecord, HeadRecord, SharedRecords, spans_of, trace_ids_of
from tables.seal import seal

log = logging.getLogger(__name__)

UNREADABLE = Counter(
    "stretto_live_store_records_skipped_total",
    "Records of topic spans that could not be read, and were left out.",
    ["reason"],
)


def seal_records(
    records: Sequence[HeadRecord], attribute_columns_max: int = 300, shared: SharedRecords | None = None
) -> tuple[pa.Table | None, list[BadRecord]]:
    """The records' spans as a segment's table; None if none can be read. Bad records are named, the others sealed.

    shared: what decodes records that other heads have a share of, too
    """
    batches, bad = spans_of(records, shared)
    if not batches:
        return None, bad
    try:
        return seal(batches, attribute_columns_max), bad
    except Exception:  # whatever a record's content does to the code, its neighbours must come through
        log.exception("%d records cannot be sealed together; trying each", len(records))
    table, worse = _seal_each(_decoded(records), attribute_columns_max)
    return table, bad + worse


def _decoded(records: Sequence[HeadRecord]) -> list[tuple[int, pa.RecordBatch]]:
    """Offset and spans of each record that can be read."""
    return [(item.offset, batch) for item in records for batch in spans_of([item])[0]]


def _seal_each(
    decoded: Sequence[tuple[int, pa.RecordBatch]], attribute_columns_max: int
) -> tuple[pa.Table | None, list[BadRecord]]:
    good: list[pa.RecordBatch] = []
    bad: list[BadRecord] = []
    for offset, batch in decoded:
        try:
            seal([batch], attribute_columns_max)
        except Exception as err:  # noqa: BLE001  # as above
            bad.append(BadRecord(offset, f"cannot be sealed: {err!r}"))
        else:
            good.append(batch)
    return (seal(good, attribute_columns_max) if good else None), bad


@dataclass(slots=True)
class _Chunk:
    first: int  # number of its first record in the head
    end: int
    spans: int
    source: TableSource | None  # None: no record of it could be read


class Head:
    """Records in the order of their offsets. Appended to by one thread, read by several.

    reuse_s: what was shredded serves all queries of so many seconds, but for look-ups by trace id: so much later, at
        the worst, a record is searchable while queries come in close succession
    """

    def __init__(self, attribute_columns_max: int = 300, reuse_s: float = 0.0) -> None:
        self.attribute_columns_max = attribute_columns_max
        self._reuse_s, self._fresh_until_s = reuse_s, 0.0
        self.records: list[HeadRecord] = []
        self.spans = 0
        self.bytes = 0
        self._lock = threading.Lock()
        self._chunks: list[_Chunk] = []
        self._trace_ids: list[npt.NDArray[np.uint64]] = []  # of each record that a look-up has seen, shape (spans, 2)

    def append(self, item: HeadRecord) -> None:
        """Keeps a record as it came."""
        self.records.append(item)
        self.spans += item.spans
        self.bytes += item.size_bytes

    def sources(self, count: int) -> list[TableSource]:
        """The first `count` records or more, shredded: 3 ms and 2 µs per span that no query has asked for before. Those
        of the last `reuse_s` may be missing.

        Chunks are kept. What is new is shredded together with the younger chunks that have not more spans than what
        follows them: so each span is shredded again only a few times while queries and records alternate.
        """
        with self._lock:
            first = self._chunks[-1].end if self._chunks else 0
            if count > first and time.monotonic() >= self._fresh_until_s:
                end = len(self.records)  # what came meanwhile, too: queries that wait for the lock ask for it next
                spans = sum(item.spans for item in self.records[first:end])
                while self._chunks and self._chunks[-1].spans <= spans:
                    young = self._chunks.pop()
                    first, spans = young.first, spans + young.spans
                self._chunks.append(self._shred(first, end, spans))
                self._fresh_until_s = time.monotonic() + self._reuse_s
            return [chunk.source for chunk in self._chunks if chunk.source is not None]

    def trace_sources(self, trace_id: bytes, count: int) -> list[TableSource]:
        """What the first `count` records hold of one trace. Only records that hold any of it are shredded, only its
        rows; all that is kept for the next look-up are the trace ids, 16 bytes a span.
        """
        wanted = np.frombuffer(trace_id, np.uint64)
        with self._lock:
            for item in self.records[len(self._trace_ids) : count]:
                self._trace_ids.append(_trace_ids(item))
            rows = [(n, (ids == wanted).all(axis=1)) for n, ids in enumerate(self._trace_ids[:count])]
        decoded = [
            (offset, batch.filter(pa.array(mask)))
            for n, mask in rows
            if mask.any()
            for offset, batch in _decoded([self.records[n]])
        ]
        if not decoded:
            return []
        try:
            return [TableSource(seal([batch for _, batch in decoded], self.attribute_columns_max))]
        except Exception:  # whatever a record's content does to the code, its neighbours must be found
            log.exception("%d records cannot be shredded together; trying each", len(decoded))
        table, _ = _seal_each(decoded, self.attribute_columns_max)
        return [] if table is None else [TableSource(table)]

    def _shred(self, first: int, end: int, spans: int) -> _Chunk:
        # What is bad is counted when the head is sealed.
        table, _ = seal_records(self.records[first:end], self.attribute_columns_max)
        return _Chunk(first, end, spans, None if table is None else TableSource(table))


def _trace_ids(item: HeadRecord) -> npt.NDArray[np.uint64]:
    try:
        ids = fixed_bytes(trace_ids_of(item))
    except WireError:  # counted when the head is sealed
        return np.zeros((0, 2), np.uint64)
    return np.ascontiguousarray(ids).view(np.uint64)
