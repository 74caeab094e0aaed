"""HPACK of one HTTP/2 connection: header blocks ↔ headers.

A client sends the same block with nearly every request, a proxy one for each of its tenants. A block that changes no
table of HPACK means the same as long as no other block does, so it is remembered until then. Some proxies change the
table with every block: it is decoded each time (`hpack_fields`), and the same headers are checked once.
"""

from collections.abc import Sequence
from typing import Any, Final

import h2.errors
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hpack.exceptions import HPACKError, OversizedHeaderListError

from app.net.hpack_fields import decode_plain
from app.net.http2_types import Headers, Http2Fault, RequestHeaders

# Blocks that a connection remembers, each of at most so many bytes: those of a proxy with hundreds of tenants, as long
# as all connections of the server do not remember too many together.
_KNOWN_MAX: Final = 512
_KNOWN_BYTES_MAX: Final = 1024
_KNOWN_OF_ALL_MAX: Final = 4096
_KNOWN_ALWAYS: Final = 32
_REQUEST: Final = HeaderValidationFlags(
    is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False
)
_TRAILERS: Final = _REQUEST._replace(is_trailer=True)
# Of all connections of a server.
_CHECKED_MAX: Final = 512
_LENGTH_MAX: Final = 127
_STATUS_200: Final = (":status", "200")


def _plain_block(headers: Headers) -> bytes:
    """A block that uses and changes no table but HPACK's fixed one."""
    block = bytearray()
    for name, value in headers:
        if (name, value) == _STATUS_200:
            block += b"\x88"
            continue
        assert len(name) < _LENGTH_MAX, "such lengths take one byte"
        assert len(value) < _LENGTH_MAX, "such lengths take one byte"
        block += b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
    return bytes(block)


class CheckedHeaders:
    """Headers of requests that are valid, and what a server has found out from them; one for each server.

    blocks: how many blocks its connections remember
    """

    def __init__(self) -> None:
        self.blocks = 0
        self._known: dict[tuple[tuple[bytes, bytes], ...], RequestHeaders] = {}

    def of(self, raw: list[tuple[bytes, bytes]]) -> RequestHeaders:
        """The headers; the same object for the same headers. Raises: Http2Fault"""
        key = tuple(raw)
        found = self._known.get(key)
        if found is not None:
            return found
        _check(raw, _REQUEST)
        # Names and values of HTTP/2 are bytes; those of ours are texts.
        found = RequestHeaders((name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in raw)
        if sum(len(name) + len(value) for name, value in raw) <= _KNOWN_BYTES_MAX:
            if len(self._known) >= _CHECKED_MAX:
                self._known.clear()
            self._known[key] = found
        return found


class HeaderBlocks:
    """Decodes and encodes the header blocks of a connection, in their order."""

    def __init__(self, state: H2Connection, frequent: Sequence[Headers], checked: CheckedHeaders) -> None:
        """frequent: headers of most answers, whose blocks are made once"""
        self._checked = checked
        self._decoder: Any = state.decoder
        self._encoder: Any = state.encoder
        self._known: dict[bytes, RequestHeaders] = {}
        self._plain = {tuple(headers): _plain_block(headers) for headers in frequent}

    def request(self, block: bytes) -> RequestHeaders:
        """The headers of a request; the same object for a block that is known. Raises: Http2Fault"""
        known = self._known.get(block)
        if known is not None:
            return known
        table = self._decoder.header_table
        before = table.maxsize, len(table.dynamic_entries), next(iter(table.dynamic_entries), None)
        found = self._checked.of(self._decoded(block))
        last, size, newest = before
        # A new entry is the first of the table.
        if (table.maxsize, len(table.dynamic_entries)) != (last, size) or (
            next(iter(table.dynamic_entries), None) is not newest
        ):
            self.forget()
        elif len(block) <= _KNOWN_BYTES_MAX:
            checked = self._checked
            if len(self._known) >= (_KNOWN_MAX if checked.blocks < _KNOWN_OF_ALL_MAX else _KNOWN_ALWAYS):
                self.forget()
            self._known[block] = found
            checked.blocks += 1
        return found

    def forget(self) -> None:
        """Remembers no block any more: they mean something else now, or the connection has ended."""
        self._checked.blocks -= len(self._known)
        self._known.clear()

    def trailers(self, block: bytes) -> None:
        """Reads the trailers of a request for the sake of HPACK's table. Raises: Http2Fault"""
        self.forget()
        _check(self._decoded(block), _TRAILERS)

    def encode(self, headers: Headers) -> bytes:
        """The block of an answer. It must be sent before the next one is made."""
        plain = self._plain.get(tuple(headers))
        # A client that has changed the size of the table is told with the next block that it was.
        if plain is not None and not self._encoder.table_size_changes:
            return plain
        return bytes(self._encoder.encode(headers))

    def _decoded(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            plain = decode_plain(self._decoder, block)
            return list(self._decoder.decode(block, raw=True)) if plain is None else plain
        except OversizedHeaderListError as err:
            raise Http2Fault(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM) from err
        except (HPACKError, IndexError, TypeError, UnicodeDecodeError) as err:  # as the library h2 has it
            raise Http2Fault(h2.errors.ErrorCodes.COMPRESSION_ERROR) from err


def _check(headers: list[tuple[bytes, bytes]], flags: HeaderValidationFlags) -> None:
    try:
        for _ in validate_headers(headers, flags):
            pass
    except ProtocolError as err:
        raise Http2Fault(h2.errors.ErrorCodes.PROTOCOL_ERROR) from err
