"""The head: records of one tenant and partition, unchanged, sealed later; shredded early only for queries."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from prometheus_client import Counter

from tables.columns.arrays import fixed_bytes
from tables.columns.duplicates import DUPLICATES
from tables.columns.in_memory import TableSource
from tables.errors import WireError
from tables.live.decode_together import GoOn, keep_going
from tables.live.shared_records import BadRecord, HeadRecord, SharedRecords, spans_of, trace_ids_of
from tables.seal.raw_fallback import seal_whole

T = TypeVar("T")

# How long a query waits for what another one shreds until it looks whether anybody still waits for it.
_LOOK_EVERY_S: Final = 0.05

UNREADABLE = Counter(
    "stretto_live_store_records_skipped_total",
    "Records of topic spans that were skipped because they cannot be read.",
    ["reason"],
)


def seal_records(
    records: Sequence[HeadRecord],
    attribute_columns_max: int = 300,
    shared: SharedRecords | None = None,
    go_on: GoOn = keep_going,
) -> tuple[pa.Table | None, list[BadRecord]]:
    """The spans of the records as a segment's table; None if none is readable. Bad records are returned by name, the
    others sealed.

    shared: the decoder of records that other heads share
    """
    batches, bad = spans_of(records, shared, go_on)
    go_on()
    return seal_whole(batches, attribute_columns_max, lambda _: None)[0] if batches else None, bad


def seal_and(
    finish: Callable[[pa.Table], T],
    records: Sequence[HeadRecord],
    attribute_columns_max: int,
    shared: SharedRecords | None = None,
) -> tuple[pa.Table | None, T | None, list[BadRecord]]:
    """As `seal_records`, and applies `finish` to the table. Spans for which `finish` fails are stored raw, too.

    This is the seal that lasts: it counts the spans that it leaves out because others equal them.
    """
    batches, bad = spans_of(records, shared)
    if not batches:
        return None, None, bad
    table, finished = seal_whole(batches, attribute_columns_max, finish)
    DUPLICATES.labels("seal").inc(sum(map(len, batches)) - table.num_rows)
    return table, finished, bad


@dataclass(slots=True)
class _RecordRun:
    first: int  # number of its first record in the head
    end: int
    spans: int
    source: TableSource | None  # None: no record of it could be read


class Head:
    """Records in the order of their offsets. One thread appends, several read.

    reuse_s: queries, except lookups by trace id, reuse shredded spans for this long; so new spans may be searchable
    later by this time
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
        """Adds a record as it came from Kafka; it is decoded when a query or the seal needs it."""
        self.records.append(item)
        self.spans += item.spans
        self.bytes += item.size_bytes
        self.decoded_bytes += item.decoded_bytes

    def sources(self, count: int, go_on: GoOn = keep_going) -> list[TableSource]:
        """At least the first `count` records, shredded. New spans cost 3 ms and 2 µs per span, and hostile ones fifty
        times as much. Records of the last `reuse_s` may be missing.

        go_on: called now and then, also while other threads shred; what it raises ends it
        Shredded chunks are kept. A new chunk also shreds again the younger chunks that have not more spans than those
        after them. So each span is shredded only a few times while queries and records alternate.
        """
        with self._locked(go_on):
            first = self._chunks[-1].end if self._chunks else 0
            if count > first and time.monotonic() >= self._fresh_until_s:
                end = len(self.records)  # what came meanwhile, too: queries that wait for the lock ask for it next
                spans = sum(item.spans for item in self.records[first:end])
                older = len(self._chunks)
                while older and self._chunks[older - 1].spans <= spans:
                    older -= 1
                    first, spans = self._chunks[older].first, spans + self._chunks[older].spans
                # Replaced at the end: what an abandoned query has not finished changes nothing.
                self._chunks[older:] = [self._shred(first, end, spans, go_on)]
                self._fresh_until_s = time.monotonic() + self._reuse_s
            return [chunk.source for chunk in self._chunks if chunk.source is not None]

    def trace_sources(self, trace_id: bytes, count: int, go_on: GoOn = keep_going) -> list[TableSource]:
        """The spans of one trace in the first `count` records. It shreds only records that contain the trace, and only
        its rows. For the next lookup it keeps only the trace ids, 16 bytes per span.
        """
        wanted = np.frombuffer(trace_id, np.uint64)
        with self._locked(go_on):
            for item in self.records[len(self._trace_ids) : count]:
                go_on()
                self._trace_ids.append(_trace_ids(item))
            rows = [(n, (ids == wanted).all(axis=1)) for n, ids in enumerate(self._trace_ids[:count])]
        decoded = [
            batch.filter(pa.array(mask)) for n, mask in rows if mask.any() for batch in spans_of([self.records[n]])[0]
        ]
        if not decoded:
            return []
        table, _ = seal_whole(decoded, self.attribute_columns_max, lambda _: None)
        return [TableSource(table)]

    @contextmanager
    def _locked(self, go_on: GoOn) -> Iterator[None]:
        while not self._lock.acquire(timeout=_LOOK_EVERY_S):
            go_on()
        try:
            yield
        finally:
            self._lock.release()

    def _shred(self, first: int, end: int, spans: int, go_on: GoOn) -> _RecordRun:
        # Bad records are counted when the head is sealed.
        table, _ = seal_records(self.records[first:end], self.attribute_columns_max, go_on=go_on)
        return _RecordRun(first, end, spans, None if table is None else TableSource(table))


def _trace_ids(item: HeadRecord) -> npt.NDArray[np.uint64]:
    try:
        ids = fixed_bytes(trace_ids_of(item))
    except WireError:  # counted when the head is sealed
        return np.zeros((0, 2), np.uint64)
    return np.ascontiguousarray(ids).view(np.uint64)
