"""The head: records of one tenant and partition as they came, sealed later; shredded early only if a query asks."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from prometheus_client import Counter

from tables.columns.arrays import fixed_bytes
from tables.columns.in_memory import TableSource
from tables.errors import WireError
from tables.live.shared_records import BadRecord, HeadRecord, SharedRecords, spans_of, trace_ids_of
from tables.seal.rescue import seal_whole

T = TypeVar("T")

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
    table, _, bad = seal_and(lambda _: None, records, attribute_columns_max, shared)
    return table, bad


def seal_and(
    finish: Callable[[pa.Table], T],
    records: Sequence[HeadRecord],
    attribute_columns_max: int,
    shared: SharedRecords | None = None,
) -> tuple[pa.Table | None, T | None, list[BadRecord]]:
    """As `seal_records`, with what `finish` makes of the table; spans for which it fails are kept raw, too."""
    batches, bad = spans_of(records, shared)
    if not batches:
        return None, None, bad
    return *seal_whole(batches, attribute_columns_max, finish), bad


@dataclass(slots=True)
class _RecordRun:
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
        self.decoded_bytes = 0  # of the records, once they are decoded: what a client sends may compress a thousandfold
        self._lock = threading.Lock()
        self._chunks: list[_RecordRun] = []
        self._trace_ids: list[npt.NDArray[np.uint64]] = []  # of each record that a look-up has seen, shape (spans, 2)

    def append(self, item: HeadRecord) -> None:
        """Keeps a record as it came."""
        self.records.append(item)
        self.spans += item.spans
        self.bytes += item.size_bytes
        self.decoded_bytes += item.decoded_bytes

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
            batch.filter(pa.array(mask)) for n, mask in rows if mask.any() for batch in spans_of([self.records[n]])[0]
        ]
        if not decoded:
            return []
        table, _ = seal_whole(decoded, self.attribute_columns_max, lambda _: None)
        return [TableSource(table)]

    def _shred(self, first: int, end: int, spans: int) -> _RecordRun:
        # What is bad is counted when the head is sealed.
        table, _ = seal_records(self.records[first:end], self.attribute_columns_max)
        return _RecordRun(first, end, spans, None if table is None else TableSource(table))


def _trace_ids(item: HeadRecord) -> npt.NDArray[np.uint64]:
    try:
        ids = fixed_bytes(trace_ids_of(item))
    except WireError:  # counted when the head is sealed
        return np.zeros((0, 2), np.uint64)
    return np.ascontiguousarray(ids).view(np.uint64)
