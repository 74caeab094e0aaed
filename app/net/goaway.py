"""GOAWAY, the last frame to an HTTP/2 client that is not served."""

import struct
from typing import Final

ENHANCE_YOUR_CALM: Final = 11  # RFC 9113, 7
_SETTINGS: Final = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_ALL_STREAMS: Final = 2**31 - 1


def goaway_frame(code: int = 0, text: str = "", last_stream: int = _ALL_STREAMS) -> bytes:
    """A GOAWAY frame. last_stream: the last stream that gets an answer; later ones were ignored"""
    payload = struct.pack(">LL", last_stream, code) + text.encode()
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 255, 7, 0, 0) + payload


def refusal(text: str) -> bytes:
    """All bytes that a server sends on a connection beyond the limit."""
    return _SETTINGS + goaway_frame(ENHANCE_YOUR_CALM, text, 0)
