"""Decompresses Kafka batches, up to a size limit."""

import zlib
from typing import Final

import pyarrow as pa
from aiokafka.codec import snappy_decode
from aiokafka.errors import UnsupportedCodecError

_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_STREAMS: Final = {_LZ4: "lz4", _ZSTD: "zstd"}
_PIECE_BYTES: Final = 1 << 20
# A producer writes one frame; each frame costs time, whatever its content.
_GZIP_MEMBERS_MAX: Final = 16
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16


class BatchTooLarge(ValueError):  # noqa: N818  # says it better
    """The decompressed batch would exceed the limit."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"more than {bytes_max} bytes when decompressed (kafka.decompressed_bytes_max)")


def decompress(codec: int, data: memoryview, bytes_max: int) -> bytes:
    """codec: the number in a batch's attributes. Raises: BatchTooLarge, UnsupportedCodecError, OSError, ValueError."""
    if codec == _GZIP:
        return _gunzip(data, bytes_max)
    if codec == _SNAPPY:
        if _snappy_bytes(data) > bytes_max:
            raise BatchTooLarge(bytes_max)
        return bytes(snappy_decode(data.tobytes()))
    if codec not in _STREAMS:
        raise UnsupportedCodecError(f"codec {codec}")
    pieces, size = [], 0
    with pa.CompressedInputStream(pa.BufferReader(data), _STREAMS[codec]) as stream:
        # Not `read`, which never frees the bytes that it has made when it fails (docs/pyarrow-report.md).
        while (piece := stream.read_buffer(_PIECE_BYTES)).size:
            size += piece.size
            if size > bytes_max:
                raise BatchTooLarge(bytes_max)
            pieces.append(piece)
    return b"".join(pieces)


def _gunzip(data: memoryview, bytes_max: int) -> bytes:
    left, whole = bytes(data), b""
    for _ in range(_GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(wbits=31)
        whole += member.decompress(left, bytes_max - len(whole) + 1)
        if len(whole) > bytes_max:
            raise BatchTooLarge(bytes_max)
        if not member.eof:
            raise ValueError("the gzip stream is cut off")
        left = member.unused_data
        if not left:
            return whole
    raise ValueError(f"more than {_GZIP_MEMBERS_MAX} gzip members")


def _snappy_bytes(data: memoryview) -> int:
    """The decompressed size that the blocks declare: the decoder allocates exactly this for each."""
    if bytes(data[: len(_XERIAL)]) != _XERIAL:
        return _varint(data)
    size, at = 0, _XERIAL_HEADER_BYTES
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big", signed=True)
        if length < 0 or at + 4 + length > len(data):
            raise ValueError("a snappy block is cut off")
        size += _varint(data[at + 4 : at + 4 + length])
        at += 4 + length
    return size


def _varint(data: memoryview) -> int:
    value = 0
    for n, byte in enumerate(data[:5]):
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            return value
    raise ValueError("a snappy block without its length")
