"""Bodies as clients compress them."""

import gzip
import zlib

import cramjam
import pyarrow as pa


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data))


def lz4(data: bytes) -> bytes:
    return bytes(cramjam.lz4.compress(data))


def framed(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress(data))


def block(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


EMPTY = gzip.compress(b"")
