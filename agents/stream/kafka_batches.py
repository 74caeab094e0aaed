"""Batches as fetched from Kafka → records. An unreadable batch is skipped; it does not stop the partition.

aiokafka raises if it cannot decompress or parse a batch, and then fetches the same batch again, for ever. Here reading
continues after it. `HOLES` records offsets without a readable record, so that code which counts offsets knows that
nothing is missing there: skipped batches, and offsets that Kafka itself leaves out (transaction markers, compacted
topics).
"""

import logging
import struct
import threading
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from prometheus_client import Counter

from agents.stream.kafka_codecs import BatchTooLarge, decompress

log = logging.getLogger(__name__)

PASSED = Counter(
    "stretto_kafka_batches_skipped_total",
    "Kafka batches that were skipped because they cannot be read.",
    ["topic", "reason"],
)

_FRAME: Final = struct.Struct(">qi")  # base offset, length of what follows
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")  # of a batch of format 2, the only one that is not two decades old
_ATTRIBUTES_AT: Final = 21
_MAGIC_AT: Final = 16
_CODEC_MASK: Final = 0x07
_LZ4: Final = 3
_RANGES_MAX: Final = 1000
# The end of the process, and of this generator.
_LET_PASS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)


class Holes:
    """Offsets without a readable record, per partition. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ranges: dict[tuple[str, int], list[tuple[int, int]]] = {}  # first offset, end; in order, apart

    def note(self, tp: tuple[str, int], first: int, end: int) -> bool:
        """Adds the offsets from first up to, not including, end. False: all of them were known."""
        if self.through(tp, first) >= end:
            return False
        with self._lock:
            known = self._ranges.setdefault((tp[0], tp[1]), [])
            apart = [(low, high) for low, high in known if high < first or low > end]
            joined = [one for one in known if one not in apart]
            low, high = min([first, *(a for a, _ in joined)]), max([end, *(b for _, b in joined)])
            self._ranges[tp[0], tp[1]] = sorted([*apart, (low, high)])[-_RANGES_MAX:]
        return True

    def through(self, tp: tuple[str, int], offset: int) -> int:
        """The first offset from `offset` on that is not in a hole."""
        with self._lock:
            known = self._ranges.get((tp[0], tp[1]))
            if not known:
                return offset
            at = bisect_right(known, (offset, 2**63)) - 1
            return max(offset, known[at][1]) if at >= 0 else offset

    def clear(self) -> None:
        """Forgets all unreadable batches that were noted."""
        with self._lock:
            self._ranges.clear()


HOLES: Final = Holes()


class Frame(NamedTuple):
    """One batch of a fetch. following: start of the next batch; None: it is the last

    data: None if its length is invalid, so that nothing after it can be found either
    """

    base_offset: int
    data: bytes | None
    following: int | None


def frames(data: bytes) -> Iterator[Frame]:
    """The batches of a fetch. Kafka may truncate the last one; the next fetch returns it whole."""
    at = 0
    while at < len(data):
        if len(data) - at < _FRAME.size:
            if at == 0:
                yield Frame(0, None, None)
            return
        base_offset, length = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if length <= _MAGIC_AT - _FRAME.size or end > len(data):
            if at == 0 or length <= _MAGIC_AT - _FRAME.size:
                yield Frame(base_offset, None, None)
            return
        following = _FRAME.unpack_from(data, end)[0] if len(data) - end >= _FRAME.size else None
        yield Frame(base_offset, data[at:end], following)
        at = end


class FetchedBytes:
    """Replaces aiokafka's MemoryRecords: the unread bytes of a partition's fetch."""

    def __init__(self, data: bytes | None) -> None:
        self.data = bytes(data or b"")

    def size_in_bytes(self) -> int:
        """Size of the fetched bytes; part of aiokafka's interface."""
        return len(self.data)

    def has_next(self) -> bool:
        """Also true if the first batch is incomplete; the reader then skips it."""
        return bool(self.data)


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types here
    """aiokafka's class, for read_uncommitted consumers. No content of a batch stops it."""

    decompressed_bytes_max = 64 << 20
    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        for frame in frames(self._records.data):
            try:
                batch = self._opened(frame)
                if batch.is_control_batch:
                    self._go_to(batch.next_offset)
                    continue
                records = iter(batch)
            except _LET_PASS:
                raise
            except BaseException as err:  # noqa: BLE001  # a panic of native code is no Exception
                self._pass_over(frame, err)
                continue
            yield from self._each(frame, batch, records)

    def _each(self, frame: Frame, batch: Any, records: Iterator[Any]) -> Iterator[Any]:
        while True:
            try:
                record = next(records)
                if record.offset < self.next_fetch_offset:
                    continue  # asked for from the middle of the batch on
                made = self._consumer_record(self._tp, record)
            except StopIteration:
                break
            except _LET_PASS:
                raise
            except BaseException as err:  # noqa: BLE001  # as above
                self._pass_over(frame, err)
                return
            self._go_to(record.offset)
            self.next_fetch_offset = record.offset + 1
            yield made
        self._go_to(batch.next_offset)

    def _opened(self, frame: Frame) -> Any:
        """A batch that can be iterated. Raises: the error in the batch"""
        data = frame.data
        if data is None:
            raise CorruptRecordException("the length of the batch cannot be right")
        if data[_MAGIC_AT] < 2:
            return _of_old_format(data, self.decompressed_bytes_max)
        if len(data) < _HEADER.size:
            raise CorruptRecordException("the batch is shorter than its header")
        batch = DefaultRecordBatch(data)
        if self._check_crcs and not batch.validate_crc():
            raise CorruptRecordException("wrong checksum")
        codec = batch.attributes & _CODEC_MASK
        if not codec or batch.is_control_batch:
            return batch
        # Decompressed here and not by aiokafka, which knows no limit.
        body = decompress(codec, memoryview(data)[_HEADER.size :], self.decompressed_bytes_max)
        header = bytearray(data[: _HEADER.size])
        struct.pack_into(">h", header, _ATTRIBUTES_AT, batch.attributes & ~_CODEC_MASK)
        return DefaultRecordBatch(bytes(header) + body)

    def _go_to(self, offset: int) -> None:
        """Records that there is nothing before the offset."""
        if offset > self.next_fetch_offset:
            HOLES.note(self._tp, self.next_fetch_offset, offset)
            self.next_fetch_offset = offset

    def _pass_over(self, frame: Frame, err: BaseException) -> None:
        first, end = self.next_fetch_offset, _end_of(frame)
        if end is not None and end <= first:
            return  # before what was asked for
        # If its end is unknown, one offset at a time.
        self.next_fetch_offset = first + 1 if end is None else end
        if HOLES.note(self._tp, first, self.next_fetch_offset):
            PASSED.labels(self._tp.topic, _reason(err)).inc()
            log.warning(
                "passed over %s[%d] offsets %d to %d, which cannot be read: %r",
                self._tp.topic,
                self._tp.partition,
                first,
                self.next_fetch_offset - 1,
                err,
            )


def _of_old_format(data: bytes, decompressed_bytes_max: int) -> Any:
    """One message of format 0 or 1, which may contain compressed messages: brokers before Kafka 4 still accept them."""
    codec, at = data[_MAGIC_AT + 1] & _CODEC_MASK, _MAGIC_AT + 2 + (8 if data[_MAGIC_AT] else 0)
    if codec:
        key_bytes = int.from_bytes(data[at : at + 4], "big", signed=True)
        start = at + 8 + max(0, key_bytes)
        value_bytes = int.from_bytes(data[start - 4 : start], "big", signed=True)
        # aiokafka decompresses it, and knows no limit. Of format 0 lz4's frames are its own.
        if data[_MAGIC_AT] or codec != _LZ4:
            decompress(codec, memoryview(data)[start : start + max(0, value_bytes)], decompressed_bytes_max)
    return MemoryRecords(data).next_batch()


def _end_of(frame: Frame) -> int | None:
    """The offset after a batch; None if no trustworthy field says it."""
    if frame.following is not None and frame.following > frame.base_offset:
        return frame.following
    if frame.data is None or len(frame.data) < _HEADER.size or frame.data[_MAGIC_AT] < 2:
        return None
    last_delta, count = _HEADER.unpack_from(frame.data)[6], _HEADER.unpack_from(frame.data)[12]
    if DefaultRecordBatch(frame.data).validate_crc() or count == last_delta + 1:
        return frame.base_offset + max(0, int(last_delta)) + 1
    return None


def _reason(err: BaseException) -> str:
    if isinstance(err, BatchTooLarge):
        return "too_large"
    if isinstance(err, UnsupportedCodecError):
        return "codec"
    if isinstance(err, CorruptRecordException):
        return "checksum" if "checksum" in str(err) else "structure"
    return "compressed" if isinstance(err, OSError | zlib.error | ValueError) else "other"


def install(decompressed_bytes_max: int) -> None:
    """Makes all consumers of this process read batches this way. decompressed_bytes_max: size limit of one decompressed
    batch
    """
    PartitionRecords.decompressed_bytes_max = decompressed_bytes_max
    fetcher.PartitionRecords = PartitionRecords
    fetcher.MemoryRecords = FetchedBytes
