"""Zstd for pages and records, with contexts that each thread keeps.

Arrow makes a new context for each page. A context asks the processor what it can do, for which a virtual machine asks
its host: that takes as long as compressing a page, and three times as long as decompressing one.
"""

import threading
from typing import Final

from zstandard import CONTENTSIZE_UNKNOWN, ZstdCompressor, ZstdDecompressor, ZstdError, frame_content_size

_LEVEL: Final = 1


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.compressor = ZstdCompressor(level=_LEVEL)
        self.decompressor = ZstdDecompressor()


_contexts: Final = _Contexts()


def compress(body: bytes | memoryview) -> bytes:
    """A frame that says its size."""
    return _contexts.compressor.compress(body)


def decompress(packed: bytes | memoryview, size: int) -> bytes:
    """So many bytes. Raises: ValueError if there are others"""
    try:
        # What a frame says is allocated before anything is decompressed.
        if frame_content_size(packed) not in (size, -1, CONTENTSIZE_UNKNOWN):
            raise ValueError(f"a frame that is not of {size} bytes")
        body = _contexts.decompressor.decompress(packed, max_output_size=size)
    except ZstdError as err:
        raise ValueError(str(err)) from err
    if len(body) != size:
        raise ValueError(f"{len(body)} bytes instead of {size}")
    return body
