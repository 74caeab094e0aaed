"""Compressed bodies: every codec of the Collector, and what hostile ones may cost."""

import asyncio
import contextlib
import gc
import gzip
import random
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.receivers.codecs import ENCODINGS, STEP_BYTES, UnknownEncoding, codec
from app.receivers.decompress import BodyCosts, BodyTooLarge, TooCostly, decompressed
from app.receivers.input_budget import InputBudget, Overloaded
from tables.errors import WireError
from tests.helpers.receiving.compression import EMPTY, block, framed, lz4, raw_deflate, zstd

MIB = 1 << 20
ANY_RATIO = BodyCosts(ratio_max=10**6)


def halves(compress):
    return lambda data: compress(data[: len(data) // 2]) + compress(data[len(data) // 2 :])


WAYS = [
    pytest.param(gzip.compress, "gzip", id="gzip"),
    pytest.param(gzip.compress, "x-gzip", id="x-gzip"),
    pytest.param(halves(gzip.compress), "gzip", id="gzip twice"),
    pytest.param(lambda data: gzip.compress(data) + bytes(9), "gzip", id="gzip and zeros"),
    pytest.param(zlib.compress, "deflate", id="deflate"),
    pytest.param(raw_deflate, "deflate", id="deflate without a head"),
    pytest.param(zlib.compress, "zlib", id="zlib"),
    pytest.param(zstd, "zstd", id="zstd"),
    pytest.param(halves(zstd), "zstd", id="zstd twice"),
    pytest.param(lz4, "lz4", id="lz4"),
    pytest.param(framed, "snappy", id="snappy, framed"),
    pytest.param(halves(framed), "snappy", id="snappy, framed twice"),
    pytest.param(block, "snappy", id="snappy, a block"),
    pytest.param(framed, "x-snappy-framed", id="x-snappy-framed"),
]


def run(data: bytes, encoding: str, bytes_max: int = 64 * MIB, costs: BodyCosts | None = None, budget_bytes=256 * MIB):
    """The body; afterwards nothing is held beyond what it became."""
    budget = InputBudget(budget_bytes)

    async def main() -> bytes:
        held = budget.open("t")
        with ThreadPoolExecutor(2) as threads:
            try:
                return await decompressed(data, encoding, bytes_max, costs or BodyCosts(), held, threads)
            finally:
                held.release()

    try:
        return asyncio.run(main())
    finally:
        assert budget.used_bytes == 0


@pytest.mark.parametrize(("compress", "encoding"), WAYS)
@pytest.mark.parametrize("size", [1, 1000, 3 * MIB])
def test_round_trip(compress, encoding, size):
    """Small ones on the event loop, large ones in steps on threads."""
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    assert run(compress(data), encoding) == data


@pytest.mark.parametrize(("compress", "encoding"), WAYS)
def test_cut_or_too_large(compress, encoding):
    """What is not whole is an error, and nothing grows beyond its limit."""
    data = random.Random(7).randbytes(500_000)
    with pytest.raises(WireError, match=encoding):
        run(compress(data)[:-30], encoding)
    with pytest.raises(BodyTooLarge):
        run(compress(bytes(5 * MIB)), encoding, bytes_max=MIB, costs=ANY_RATIO)
    with pytest.raises(Overloaded, match=r"input\.bytes_max"):
        run(compress(bytes(5 * MIB)), encoding, budget_bytes=MIB, costs=ANY_RATIO)


@pytest.mark.parametrize(("compress", "encoding"), WAYS)
def test_what_is_broken_takes_no_memory(compress, encoding):
    """Python holds no more memory after broken bodies were refused than before."""
    good = compress(random.Random(7).randbytes(2000))
    broken = [
        bytes([*good[:at], *(255 - byte for byte in good[at : at + 9]), *good[at + 9 :]])
        for at in range(0, len(good), 25)
    ]

    def refuse(data):
        with contextlib.suppress(WireError):
            reading = codec(data, encoding, 4096)
            while reading.step() is not None:
                pass

    refuse(broken[1])
    tracemalloc.start()
    try:
        for data in broken:
            refuse(data)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < STEP_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.binary(max_size=200))
def test_any_bytes(encoding, data):
    """Refused, or read to an end; nothing else."""
    try:
        reading = codec(data, encoding, 4096)
        for _ in range(1000):
            if reading.step() is None:
                return
    except WireError:
        return
    raise AssertionError("no end")


PADDING = b"\xfe\x00\x00\x00"


@pytest.mark.parametrize(
    ("data", "encoding", "limit", "text"),
    [
        pytest.param(EMPTY * (12_000_000 // len(EMPTY)), "gzip", "members", "members_max", id="12 MB of empty gzip"),
        pytest.param(zstd(b"") * (12_000_000 // len(zstd(b""))), "zstd", "members", "parts", id="empty zstd"),
        pytest.param(lz4(b"") * (12_000_000 // len(lz4(b""))), "lz4", "members", "parts", id="empty lz4"),
        pytest.param(zstd(bytes(40 * MIB)), "zstd", "ratio", "ratio_max", id="zstd of zeros"),
    ],
)
def test_costly(data, encoding, limit, text):
    """Refused by the limit that says so, and long before it costs what it did: 99 s for the first."""
    start_s = time.process_time()
    with pytest.raises(TooCostly, match=text) as refused:
        run(data, encoding)
    assert refused.value.limit == limit
    assert time.process_time() - start_s < 5


def test_snappy_of_padding():
    """12 MB of chunks that hold nothing are read to their end, in bounded steps."""
    data = framed(b"x") + PADDING * 3_000_000
    with pytest.raises(TooCostly, match="body_cpu_s_max"):
        run(data, "snappy", costs=BodyCosts(cpu_s=0.001))


def test_cpu_time():
    """Time is a limit of its own."""
    data = gzip.compress(random.Random(1).randbytes(20 * MIB), 1)
    with pytest.raises(TooCostly, match="body_cpu_s_max") as refused:
        run(data, "gzip", costs=BodyCosts(cpu_s=0.001))
    assert refused.value.limit == "cpu"


def test_a_chunk_that_lies():
    """A chunk of more than 64 KB, and a block that says it is huge."""
    chunk = b"\0\0\0\0" + block(bytes(70_000))
    data = b"\xff\x06\x00\x00sNaPpY\x00" + struct.pack("<I", len(chunk))[:3] + chunk
    with pytest.raises(WireError, match="snappy"):
        run(data, "snappy")
    with pytest.raises((WireError, BodyTooLarge)):
        run(b"\xff\xff\xff\xff\x0f" + bytes(20), "snappy")


def test_unknown():
    """The error says what is read."""
    with pytest.raises(UnknownEncoding, match=r"'br' is not known.*zstd"):
        codec(b"x", "br", 1)


def test_a_small_body_does_not_wait_for_large_ones():
    """Eight large bodies on one thread: the small one is done before any of them."""

    async def main() -> list[str]:
        budget, done = InputBudget(1 << 40), list[str]()
        large, small = gzip.compress(bytes(60 * MIB)), gzip.compress(random.Random(1).randbytes(400_000))

        async def read(name: str, data: bytes) -> None:
            await decompressed(data, "gzip", 64 * MIB, BodyCosts(), budget.open("t"), thread)
            done.append(name)

        with ThreadPoolExecutor(1) as thread:
            tasks = [asyncio.create_task(read("large", large)) for _ in range(8)]
            await asyncio.sleep(0)
            await asyncio.gather(*tasks, asyncio.create_task(read("small", small)))
        return done

    assert asyncio.run(main())[0] == "small"
