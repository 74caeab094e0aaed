"""Decompressors of request bodies that work in steps: each step reads and produces a bounded amount, whatever the
input.

They support all compressions of the OpenTelemetry Collector: gzip, deflate, zlib, zstd, lz4, snappy, x-snappy-framed.
zlib-ng reads zlib's formats, Arrow the frames of zstd and lz4, and cramjam the frames of snappy, with their checksums.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import cramjam
import pyarrow as pa
from zlib_ng import zlib_ng

from tables.errors import WireError

# A step produces about this many bytes, and reads at most as many: about a millisecond.
STEP_BYTES: Final = 1 << 18
_GZIP: Final = 31  # wbits: with gzip's header
_ZLIB, _RAW = 15, -15
_ZLIB_FAULTS: Final[Any] = (zlib.error, zlib_ng.error)
# zlib copies what it has not used of its input: a member is begun with little of it.
_FIRST_SLICE_BYTES: Final = 1 << 10
_SLICE_BYTES_MAX: Final = 1 << 17
_MEMBERS_PER_STEP: Final = 64
_SNAPPY_START: Final = b"\xff\x06\x00\x00sNaPpY"
_SNAPPY_CHUNK_BYTES: Final = 1 << 16  # of a chunk, decompressed, at most
_SNAPPY_CHUNKS_PER_STEP: Final = STEP_BYTES // _SNAPPY_CHUNK_BYTES


class UnknownEncoding(ValueError):  # noqa: N818  (says what it is)
    """An unsupported Content-Encoding. HTTP 415."""


class TooManyMembers(WireError):  # noqa: N818  (as above)
    """A compressed body that has more parts than allowed."""


class Codec(Protocol):
    """Decompresses one body, step by step."""

    def step(self) -> bytes | None:
        """The next bytes, at most about STEP_BYTES, maybe none; None at the end. Raises: WireError"""


class Zlib:
    """gzip with any number of members up to a limit; zlib; deflate, with or without zlib's header."""

    def __init__(self, data: bytes, encoding: str, members_max: int) -> None:
        self._data, self._encoding, self._members_max = memoryview(data), encoding, members_max
        self._at = self._members = 0
        if encoding in ("gzip", "x-gzip"):
            self._wbits = _GZIP
        else:
            # RFC 9110 says zlib; some clients send raw deflate.
            self._wbits = _ZLIB if encoding == "zlib" or (data[:1] and data[0] & 15 == 8) else _RAW
        self._inflate: Any = zlib_ng.decompressobj(self._wbits)
        self._slice_bytes = _FIRST_SLICE_BYTES

    def step(self) -> bytes | None:
        if self._at >= len(self._data) and self._inflate is None:
            return None
        pieces: list[bytes] = []
        made = 0
        read_end, members_end = self._at + STEP_BYTES, self._members + _MEMBERS_PER_STEP
        while made < STEP_BYTES and self._at < read_end and self._members < members_end:
            if self._inflate is None and not self._next_member():
                break
            piece = self._some(STEP_BYTES - made)
            pieces.append(piece)
            made += len(piece)
        return b"".join(pieces)

    def _some(self, bytes_max: int) -> bytes:
        part = self._data[self._at : self._at + self._slice_bytes]
        try:
            piece: bytes = self._inflate.decompress(part, bytes_max)
        except _ZLIB_FAULTS as err:
            raise WireError(f"the body is not {self._encoding}: {err}") from err
        if self._inflate.eof:
            self._at += len(part) - len(self._inflate.unused_data)
            self._inflate, self._slice_bytes = None, _FIRST_SLICE_BYTES
            self._members += 1
            return piece
        self._at += len(part) - len(self._inflate.unconsumed_tail)
        self._slice_bytes = min(2 * self._slice_bytes, _SLICE_BYTES_MAX)
        if self._at >= len(self._data) and len(piece) < bytes_max:
            raise WireError(f"the body is not {self._encoding}: its end is missing")
        return piece

    def _next_member(self) -> bool:
        """Begins the next member if there is one: gzip allows several, one after the other, followed by zeros."""
        if self._wbits != _GZIP or self._at >= len(self._data):
            self._at = len(self._data)
            return False
        if self._data[self._at] == 0:
            if bytes(self._data[self._at :]).strip(b"\0"):
                raise WireError("the body is not gzip: there is something else behind its end")
            self._at = len(self._data)
            return False
        if self._members >= self._members_max:
            raise TooManyMembers(
                f"the body has more than {self._members_max} members (distributor.input.members_max); send it as one"
            )
        self._inflate = zlib_ng.decompressobj(self._wbits)
        return True


class Frames:
    """One or several frames of zstd or lz4."""

    def __init__(self, data: bytes, encoding: str, members_max: int) -> None:  # noqa: ARG002  (as the others)
        self._encoding = encoding
        self._source = _Source(data, encoding)
        self._stream = pa.CompressedInputStream(pa.PythonFile(self._source, mode="r"), encoding)

    def step(self) -> bytes | None:
        self._source.read_bytes = 0
        try:
            # Not `read`, which never frees the bytes that it has made when it fails (docs/pyarrow-report.md).
            piece = self._stream.read_buffer(STEP_BYTES)
        except OSError as err:
            raise WireError(f"the body is not {self._encoding}: {err}") from err
        return piece.to_pybytes() if piece.size else None


class _Source:
    """A file in memory for Arrow. It refuses to be read without end: empty frames produce nothing from any input."""

    closed = False

    def __init__(self, data: bytes, encoding: str) -> None:
        self._data, self._encoding, self._at = data, encoding, 0
        self.read_bytes = 0  # since it was last set to 0

    def read(self, size: int) -> bytes:
        if self.read_bytes > 2 * STEP_BYTES:
            raise TooManyMembers(f"the body is {self._encoding} of very many parts with nothing in them")
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        self.read_bytes += len(piece)
        return piece

    def close(self) -> None:
        self.closed = True


class Snappy:
    """Snappy's frames, or one block without frames: clients call both snappy."""

    def __init__(self, data: bytes, encoding: str, members_max: int) -> None:  # noqa: ARG002  (as the others)
        self._data, self._at, self._encoding = data, 0, encoding
        self._framed = encoding == "x-snappy-framed" or data.startswith(_SNAPPY_START)
        if self._framed and not data.startswith(_SNAPPY_START):
            raise WireError(f"the body is not {encoding}: it does not begin with a stream identifier")

    def size_bytes(self) -> int | None:
        """The decompressed size that a block declares; None for frames, which declare none. Raises: WireError"""
        if self._framed:
            return None
        try:
            return int(cramjam.snappy.decompress_raw_len(self._data))
        except cramjam.DecompressionError as err:
            raise WireError(f"the body is not {self._encoding}: {err}") from err

    def step(self) -> bytes | None:
        """As `Codec.step`. A block is one step: its size is known in advance, and it takes a millisecond per
        megabyte.
        """
        data = self._data
        if self._at >= len(data):
            return None
        start, self._at = self._at, len(data) if not self._framed else self._end_of_chunks()
        part = data[start : self._at]
        decompress = cramjam.snappy.decompress if self._framed else cramjam.snappy.decompress_raw
        try:
            return bytes(decompress(_SNAPPY_START + part if self._framed else part))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as err:
            raise WireError(f"the body is not {self._encoding}: {err}") from err

    def _end_of_chunks(self) -> int:
        """The end of the next few chunks; each becomes at most 64 KB."""
        at, data = self._at, self._data
        end = at + STEP_BYTES
        for _ in range(_SNAPPY_CHUNKS_PER_STEP):
            if at + 4 > len(data) or at >= end:
                break
            at += 4 + int.from_bytes(data[at + 1 : at + 4], "little")
        # The decompressor detects truncated input.
        return at if at <= len(data) and at > self._at else len(data)


_CODECS: Final[Mapping[str, Callable[[bytes, str, int], Codec]]] = {
    "gzip": Zlib,
    "x-gzip": Zlib,
    "deflate": Zlib,
    "zlib": Zlib,
    "zstd": Frames,
    "lz4": Frames,
    "snappy": Snappy,
    "x-snappy-framed": Snappy,
}
ENCODINGS: Final = tuple(_CODECS)


def codec(data: bytes, encoding: str, members_max: int) -> Codec:
    """In: a body, and the name of its compression in lower case. Raises: UnknownEncoding, WireError"""
    kind = _CODECS.get(encoding)
    if kind is None:
        known = ", ".join(ENCODINGS)
        raise UnknownEncoding(f"the compression {encoding[:40]!r} is not known; send one of {known}, or none")
    return kind(data, encoding, members_max)
