"""Plain fields of HPACK mean what the library says, and leave its table as the library would."""

from typing import Any

import hpack
import pytest
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hypothesis import given, settings
from hypothesis import strategies as st

from app.net.hpack_fields import decode_plain
from tests.helpers.examples import examples

NAMES = st.sampled_from([b":path", b":method", b"te", b"x-scope-orgid", b"grpc-timeout", b"n" * 130])
LONG = [b"v" * count for count in (126, 127, 254, 255, 900)]
VALUES = st.sampled_from([b"", b"POST", b"/p", b"tenant-1", b"tenant-2", b"\xff\x00", *LONG])
BLOCKS = st.lists(st.tuples(NAMES, VALUES, st.booleans(), st.booleans()), max_size=6)
EDITS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=2)


def read(decode: Any, block: bytes) -> list[tuple[bytes, bytes]] | str:
    try:
        return [tuple(one) for one in decode(block)]
    except OversizedHeaderListError:
        return "too large"
    except (HPACKError, IndexError, TypeError, UnicodeDecodeError):
        return "wrong"


def as_the_receiver_does(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | str:
    def decode(given_block: bytes) -> Any:
        plain = decode_plain(decoder, given_block)
        return decoder.decode(given_block, raw=True) if plain is None else plain

    return read(decode, block)


@given(st.lists(st.tuples(BLOCKS, EDITS), max_size=8), st.sampled_from([4096, 80, 0]), st.sampled_from([65_536, 300]))
@settings(max_examples=examples(100), deadline=None)
def test_is_what_the_library_decodes(sent, table_bytes, list_bytes):
    """Also of blocks that are damaged, until the connection ends."""
    encoder = hpack.Encoder()
    encoder.header_table_size = table_bytes
    ours, theirs = hpack.Decoder(list_bytes), hpack.Decoder(list_bytes)
    for fields, edits in sent:
        block = bytearray()
        for name, value, sensitive, huffman in fields:
            block += encoder.add((name, value), sensitive=sensitive, huffman=huffman)
        for at, byte in edits:
            if block:
                block[at % len(block)] = byte
        wanted = read(lambda raw: theirs.decode(raw, raw=True), bytes(block))
        assert as_the_receiver_does(ours, bytes(block)) == wanted
        if isinstance(wanted, str):
            return
        assert ours.header_table.dynamic_entries == theirs.header_table.dynamic_entries
        assert ours.header_table._current_size == theirs.header_table._current_size


@given(st.lists(st.binary(max_size=30), max_size=5))
@settings(max_examples=examples(100), deadline=None)
def test_any_bytes(blocks):
    ours, theirs = hpack.Decoder(), hpack.Decoder()
    for block in blocks:
        wanted = read(lambda raw: theirs.decode(raw, raw=True), block)
        assert as_the_receiver_does(ours, block) == wanted
        if isinstance(wanted, str):
            return
        assert ours.header_table.dynamic_entries == theirs.header_table.dynamic_entries


@pytest.mark.parametrize("huffman", [False, True])
def test_a_proxy_of_many_tenants_needs_no_library(huffman):
    """Its encoder makes an entry of each tenant's name, and the table has no room for all of them."""
    encoder, decoder = hpack.Encoder(), hpack.Decoder()
    for number in range(400):
        headers = [(b":method", b"POST"), (b"te", b"trailers"), (b"x-scope-orgid", b"tenant-%d" % (number % 100))]
        assert decode_plain(decoder, encoder.encode(headers, huffman=huffman)) == headers


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="number 0"),
        pytest.param(b"\xff\x80\x00", id="a number of three bytes"),
        pytest.param(b"\x20", id="a size of the table"),
        pytest.param(b"\x00\x01a", id="cut"),
        pytest.param(b"\x00\x01a\x7f\x80\x01" + bytes(255), id="a long value"),
        pytest.param(b"\x00\x01a\x81\x00", id="no huffman"),
        pytest.param(b"\x82" * 1025, id="a long block"),
    ],
)
def test_what_is_left_to_the_library(block):
    decoder = hpack.Decoder()
    assert decode_plain(decoder, b"\x40\x01a\x01b" + block) is None
    assert not decoder.header_table.dynamic_entries
