"""Batches of Kafka, good and bad, as aiokafka's fetcher meets them: what follows a bad one is read."""

import gc
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from agents.stream import kafka_batches, kafka_codecs
from agents.stream.kafka_batches import HOLES, PASSED, FetchedBytes, Holes, PartitionRecords
from tests.helpers.receiving.panics import PanicException

TP = TopicPartition("otlp_spans", 1)
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CRC_AT, ATTRIBUTES_AT, DELTA_AT, COUNT_AT = 17, 21, 23, 57


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    HOLES.clear()
    yield
    HOLES.clear()


def batch(base: int, values: list[bytes], codec: int = NONE) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 26)
    for n, value in enumerate(values):
        builder.append(n, timestamp=1000 + n, key=b"k", value=value, headers=[("h", b"x")])
    made = bytearray(builder.build())
    struct.pack_into(">q", made, 0, base)
    return made


def signed(made: bytearray) -> bytearray:
    """With a checksum that fits."""
    from aiokafka.record.util import calc_crc32c

    struct.pack_into(">I", made, CRC_AT, calc_crc32c(bytes(made[ATTRIBUTES_AT:])))
    return made


def read(data: bytes, offset: int = 0) -> tuple[list[tuple[int, bytes]], int]:
    """Offsets and values, and where the next fetch begins."""
    records = PartitionRecords(TP, FetchedBytes(bytes(data)), None, offset, None, None, True, fetcher.READ_UNCOMMITTED)
    return [(one.offset, one.value) for one in records], records.next_fetch_offset


def counted(reason: str) -> float:
    return float(PASSED.labels(TP.topic, reason)._value.get())


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_every_codec(codec: int) -> None:
    """As aiokafka's own producers write them, several batches in one fetch, asked for from the middle."""
    values = [bytes([n]) * 40_000 for n in range(6)]
    data = batch(10, values[:4], codec) + batch(14, values[4:], codec)
    assert read(data, 12) == ([(10 + n, value) for n, value in enumerate(values)][2:], 16)
    assert HOLES.through(TP, 10) == 10


def damaged(kind: str) -> bytearray:
    made = batch(2, [b"v" * 50] * 3, ZSTD if kind == "compressed" else NONE)
    match kind:
        case "checksum":
            made[-1] ^= 0xFF
        case "codec":
            struct.pack_into(">h", made, ATTRIBUTES_AT, 7)
            signed(made)
        case "compressed":
            made[70:90] = bytes(20)
            signed(made)
        case "structure":
            made[61:70] = b"\xff" * 9
            signed(made)
        case "too many":
            struct.pack_into(">i", made, COUNT_AT, 2**31 - 1)
            signed(made)
        case "too few":
            struct.pack_into(">i", made, COUNT_AT, 1)
            signed(made)
    return made


@pytest.mark.parametrize(
    ("kind", "reason", "read_of_it"),
    [
        ("checksum", "checksum", 0),
        ("codec", "codec", 0),
        ("compressed", "compressed", 0),
        ("structure", "structure", 0),
        ("too many", "structure", 3),
        ("too few", "structure", 1),
    ],
)
@pytest.mark.parametrize("last", [True, False])
def test_bad_batch(kind: str, reason: str, read_of_it: int, last: bool) -> None:
    """What stands before it and behind it is read, its offsets are known as a hole, and it is counted once."""
    before = counted(reason)
    data = batch(0, [b"a", b"b"]) + damaged(kind) + (bytearray() if last else batch(5, [b"c"]))
    offsets = [0, 1, *range(2, 2 + read_of_it), *([] if last else [5])]
    for _ in range(2):  # redelivered
        found, at = read(data)
        assert ([offset for offset, _ in found], at) == (offsets, 5 if last else 6)
    assert counted(reason) == before + (read_of_it < 3)
    assert HOLES.through(TP, 2 + read_of_it) == 5


def test_end_of_a_bad_batch_that_nothing_tells() -> None:
    """Its checksum is wrong and its counts do not agree: one offset at a time, never past a good record."""
    made = batch(2, [b"v"] * 3)
    struct.pack_into(">i", made, DELTA_AT, 2**30)
    assert read(batch(0, [b"a", b"b"]) + made) == ([(0, b"a"), (1, b"b")], 3)
    assert read(made, 3) == ([], 4)
    assert read(made + batch(5, [b"c"]), 4) == ([(5, b"c")], 6)
    assert HOLES.through(TP, 2) == 5


@pytest.mark.parametrize("length", [-1, 0, 3, 2**31 - 1])
def test_length_that_cannot_be(length: int) -> None:
    """One offset further, so that it never stands still."""
    made = batch(7, [b"v"])
    struct.pack_into(">i", made, 8, length)
    assert read(made, 7) == ([], 8)


def test_last_batch_cut_off() -> None:
    """Kafka ends a fetch anywhere: it comes whole with the next one, and nothing is a hole."""
    whole = batch(0, [b"a"]) + batch(1, [b"b"])
    for end in range(len(batch(0, [b"a"])), len(whole)):
        assert read(whole[:end]) == ([(0, b"a")], 1)
    assert HOLES.through(TP, 1) == 1


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_what_is_broken_takes_no_memory(codec: int) -> None:
    """Python holds no more memory after broken batches were refused than before."""
    good = bytes(batch(10, [bytes(range(256)) * 8], codec))[61:]  # behind the head of the batch
    broken = [memoryview(good[:at] + b"\xff" * 9 + good[at + 9 :]) for at in range(0, len(good), 8)] * 3

    def refuse() -> None:
        for data in broken:
            with suppress(Exception):
                kafka_codecs.decompress(codec, data, 1 << 20)

    refuse()
    tracemalloc.start()
    try:
        refuse()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 64 << 10
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_bomb(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small as it comes, large when decompressed: passed over before it takes the memory."""
    monkeypatch.setattr(PartitionRecords, "decompressed_bytes_max", 1 << 20)
    before = counted("too_large")
    data = batch(0, [bytes(3 << 20)], codec) + batch(1, [b"a"], codec)
    assert read(data) == ([(1, b"a")], 2)
    assert counted("too_large") == before + 1


def test_gzip_of_many_members() -> None:
    """Each costs time and holds nothing."""
    import gzip

    with pytest.raises(ValueError, match="members"):
        kafka_codecs.decompress(GZIP, memoryview(gzip.compress(b"") * 1000), 1 << 20)


def test_panic_of_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyo3 raises what is no Exception."""

    def panic(*_: Any) -> bytes:
        raise PanicException("unwrap on None")

    monkeypatch.setattr(kafka_batches, "decompress", panic)
    assert read(batch(0, [b"z"], ZSTD) + batch(1, [b"a"])) == ([(1, b"a")], 2)
    assert counted("other") >= 1


def test_markers_and_gaps_are_holes() -> None:
    """A control batch of a transaction, and offsets that compaction removed."""
    marker = batch(1, [b"m"])
    struct.pack_into(">h", marker, ATTRIBUTES_AT, 0x30)
    assert read(batch(0, [b"a"]) + signed(marker) + batch(5, [b"b"])) == ([(0, b"a"), (5, b"b")], 6)
    assert (HOLES.through(TP, 1), HOLES.through(TP, 3), HOLES.through(TP, 0)) == (5, 5, 0)


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY])
def test_old_formats(magic: int, codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of producers before Kafka 0.11; bombs too."""

    def old(value: bytes) -> bytes:
        builder = LegacyRecordBatchBuilder(magic, codec, 1 << 26)
        for n in range(2):
            builder.append(n, timestamp=1000, key=None, value=value)
        return bytes(builder.build())

    assert read(old(b"v")) == ([(0, b"v"), (1, b"v")], 2)
    if codec:
        monkeypatch.setattr(PartitionRecords, "decompressed_bytes_max", 1 << 20)
        assert read(old(bytes(3 << 20)) + batch(2, [b"a"]), 0) == ([(2, b"a")], 3)


@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    """Whatever is flipped in a fetch: no error, never backwards, always forwards, good batches before it are read."""
    HOLES.clear()
    good = batch(0, [b"a", b"b"])
    bad = batch(2, [b"v" * 20] * 3, data.draw(st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD])))
    for _ in range(data.draw(st.integers(1, 4))):
        bad[data.draw(st.integers(8, len(bad) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        signed(bad)
    found, at = read(bytes(good + bad))
    assert [offset for offset, _ in found[:2]] == [0, 1]
    assert at >= 2
    assert read(bytes(bad), 2)[1] > 2


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10))), st.integers(0, 80))
def test_holes(ranges: list[tuple[int, int]], offset: int) -> None:
    """As a set of offsets says it."""
    holes, gone = Holes(), set()
    for first, length in ranges:
        assert holes.note(TP, first, first + length) == (not gone.issuperset(range(first, first + length)))
        gone.update(range(first, first + length))
    expected = offset
    while expected in gone:
        expected += 1
    assert holes.through(TP, offset) == expected
