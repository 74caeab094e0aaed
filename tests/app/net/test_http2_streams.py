"""Header blocks that are remembered, and streams that the library does not know."""

import asyncio
import struct

import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.net.http2_headers import CheckedHeaders, HeaderBlocks
from app.net.http2_types import Http2Fault, Http2Limits, new_state
from app.receivers.otlp.export import EXPORT
from tests.helpers.examples import examples
from tests.helpers.receiving.otlp_grpc import Http2Client, message, serving

PSEUDO = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", "/p")]
VALID = [(name.encode(), value.encode()) for name, value in PSEUDO]
FIELD = st.tuples(st.sampled_from(["a", "bb", "x-scope-orgid"]), st.sampled_from(["", "1", "22", "x" * 40]))
SENT = st.tuples(FIELD, st.sampled_from(["index", "plain", "never"]))


def plain_field(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def plain_block(number: int) -> bytes:
    return b"".join(plain_field(*field) for field in [*PSEUDO, ("x-scope-orgid", f"tenant-{number}")])


@given(st.lists(st.lists(SENT, max_size=4), min_size=1, max_size=12), st.sampled_from([0, 80, 4096]))
@settings(max_examples=examples(40), deadline=None)
def test_a_remembered_block_is_what_hpack_decodes(requests, table_bytes):
    """Whatever is indexed, evicted or resized between two equal blocks."""
    encoder = hpack.Encoder()
    encoder.header_table_size = table_bytes
    blocks, plain = HeaderBlocks(new_state(Http2Limits()), [], CheckedHeaders()), hpack.Decoder()
    for fields in requests:
        block = encoder.encode(PSEUDO)
        for (name, value), how in fields:
            if how == "plain":
                block += plain_field(name, value)
            else:
                block += encoder.add((name.encode(), value.encode()), sensitive=how == "never")
        wanted = [(name, value) for name, value in plain.decode(block)]
        assert [tuple(one) for one in blocks.request(block)] == wanted


def test_a_block_is_decoded_once():
    blocks, encoder = HeaderBlocks(new_state(Http2Limits()), [], CheckedHeaders()), hpack.Encoder()
    first, second = encoder.encode(PSEUDO), encoder.encode(PSEUDO)
    assert blocks.request(first) == PSEUDO
    assert blocks.request(second) is blocks.request(second)
    # Its numbers mean something else after another entry.
    blocks.request(second + encoder.add((b"new", b"1"), sensitive=False))
    with pytest.raises(Http2Fault):
        blocks.request(second)


def test_the_blocks_of_many_tenants_are_remembered():
    """As grpc's clients send them: the tenant's name is no entry of the table."""
    checked = CheckedHeaders()
    blocks = HeaderBlocks(new_state(Http2Limits()), [], checked)
    encoder = hpack.Encoder()
    first, rest = encoder.encode(PSEUDO), encoder.encode(PSEUDO)
    sent = [rest + plain_field("x-scope-orgid", f"tenant-{number}") for number in range(200)]
    blocks.request(first)
    found = [blocks.request(block) for block in sent]
    checked._known.clear()  # so that what is decoded again is another object
    assert all(blocks.request(block) is one for block, one in zip(sent, found, strict=True))
    blocks.forget()
    assert checked.blocks == 0
    assert blocks.request(sent[0]) is not found[0]


def test_connections_remember_a_bounded_number_of_blocks_together():
    checked = CheckedHeaders()
    start = hpack.Encoder().encode(PSEUDO)
    opened = [HeaderBlocks(new_state(Http2Limits()), [], checked) for _ in range(12)]
    for one in opened:
        one.request(start)  # changes the table
        for number in range(600):
            one.request(plain_block(number))
    assert checked.blocks == sum(len(one._known) for one in opened)
    assert checked.blocks <= 4096 + 12 * 32
    for one in opened:
        assert 0 < len(one._known) <= 512
        one.forget()
    assert checked.blocks == 0


def test_equal_headers_are_checked_once_however_they_are_written():
    """A proxy with many tenants: each block changes the table, and none is remembered."""
    checked = CheckedHeaders()
    blocks = HeaderBlocks(new_state(Http2Limits()), [], checked)
    first = blocks.request(hpack.Encoder().encode([*PSEUDO, ("x-scope-orgid", "a")]))
    other = HeaderBlocks(new_state(Http2Limits()), [], checked)
    plain = b"".join(plain_field(*field) for field in [*PSEUDO, ("x-scope-orgid", "a")])
    assert other.request(plain) is first
    assert other.request(plain + plain_field("x-scope-orgid", "b")) is not first
    for number in range(2000):
        checked.of([*VALID, (b"n", b"%d" % number)])
    long = [*VALID, (b"a", b"x" * 2000)]
    assert checked.of(long) is not checked.of(long)
    assert len(checked._known) < 1000


@pytest.mark.parametrize("headers", [[("A", "b")], [("connection", "close")], [(":path", "/again")], [("te", "gzip")]])
def test_headers_that_http2_forbids(headers):
    blocks = HeaderBlocks(new_state(Http2Limits()), [], CheckedHeaders())
    for _ in range(2):
        with pytest.raises(Http2Fault):
            blocks.request(hpack.Encoder().encode([*PSEUDO, *headers]))


def test_a_client_that_shrinks_its_table():
    """It is told so with the next block, as HPACK wants."""

    async def use(server, batcher, port):
        async with Http2Client(port) as client:
            for size in (4096, 0, 4096):
                client.h2.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: size})
                stream = client.begin()
                await client.send(stream, message(b"x"))
                assert (await client.answer(stream))["grpc-status"] == "0"

    serving(use)


def test_more_streams_than_are_allowed():
    """They are refused, which a client of gRPC retries; the others are answered."""

    async def use(server, batcher, port):
        async with Http2Client(port) as client:
            while client.h2.remote_settings.max_concurrent_streams != 2:
                assert await client.more()
            client.h2.remote_settings.update({3: 100})
            client.h2.remote_settings.acknowledge()
            streams = [client.begin() for _ in range(3)]
            for stream in streams:
                client.h2.send_data(stream, message(b"x"), end_stream=True)
            client.flush()
            for stream in streams[:2]:
                assert (await client.answer(stream))["grpc-status"] == "0"
            (reset,) = (event for event in client.events if isinstance(event, h2.events.StreamReset))
            assert (reset.stream_id, reset.error_code) == (streams[2], 7)

    serving(use, limits=Http2Limits(streams_max=2))


def raw(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


BLOCK = hpack.Encoder().encode([*PSEUDO[:3], (":path", EXPORT.path), ("content-type", "application/grpc")])
HEADERS, RST, PUSH, PING, WINDOW, CONTINUATION = 1, 3, 5, 6, 8, 9
DONE, END = 4, 1


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(raw(HEADERS, DONE, 2, BLOCK), 1, id="a server's stream"),
        pytest.param(raw(HEADERS, DONE, 0, BLOCK), 1, id="no stream"),
        pytest.param(raw(HEADERS, DONE | 32, 1, struct.pack(">LB", 1, 0) + BLOCK), 1, id="depends on itself"),
        pytest.param(raw(HEADERS, DONE | 8, 1, bytes([200]) + BLOCK), 1, id="only padding"),
        pytest.param(raw(HEADERS, 0, 1, BLOCK[:3]) + raw(PING, 0, 0, bytes(8)), 1, id="a frame inside headers"),
        pytest.param(raw(CONTINUATION, DONE, 1, BLOCK), 1, id="goes on with nothing"),
        pytest.param(raw(HEADERS, 0, 1) + raw(CONTINUATION, 0, 1) * 100, 11, id="goes on for ever"),
        pytest.param(raw(RST, 0, 1, bytes(4)), 1, id="resets nothing"),
        pytest.param(raw(HEADERS, DONE, 1, BLOCK) + raw(RST, 0, 1, bytes(3)), 6, id="a short reset"),
        pytest.param(raw(WINDOW, 0, 1, struct.pack(">L", 5)), 1, id="a window of nothing"),
        pytest.param(raw(PUSH, DONE, 1, bytes(4) + BLOCK), 1, id="a push"),
        pytest.param(raw(HEADERS, DONE, 1, b"\xff" * 9), 9, id="no HPACK"),
    ],
)
def test_faults(frames, code):
    """The connection ends with this code."""

    async def use(server, batcher, port):
        async with Http2Client(port) as client:
            client.writer.write(frames)
            async with asyncio.timeout(10):
                while await client.more():
                    pass
            (end,) = (event for event in client.events if isinstance(event, h2.events.ConnectionTerminated))
            assert end.error_code == code

    serving(use)


def test_headers_in_pieces_and_trailers():
    """Padding, priority, continuations and trailers of a request; gRPC's clients send none of these."""

    async def use(server, batcher, port):
        async with Http2Client(port) as client:
            head = bytes([2]) + struct.pack(">LB", 0, 5) + BLOCK[:10] + bytes(2)
            frames = raw(HEADERS, 8 | 32, 1, head) + raw(CONTINUATION, 0, 1, BLOCK[10:20])
            client.writer.write(frames + raw(CONTINUATION, DONE, 1, BLOCK[20:]))
            client.writer.write(raw(0, 0, 1, message(b"x")) + raw(HEADERS, DONE | END, 1, plain_field("t", "v")))
            async with asyncio.timeout(10):
                while not batcher.came:
                    await asyncio.sleep(0)

    serving(use)
