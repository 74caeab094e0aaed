"""Snappy's block format."""

import pyarrow as pa


def decompressed(body: bytes) -> bytes:
    """The content; its length stands in front as a varint."""
    length = shift = 0
    for byte in body[:5]:
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    raw: bytes = pa.Codec("snappy").decompress(body, length).to_pybytes()
    return raw
