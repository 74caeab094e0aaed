"""Parses the JSON of receivers' bodies."""

import re
from typing import Final

import numpy as np
import orjson

from tables.errors import WireError
from tables.wire.usual import Unusual

_SHORT_BYTES: Final = 1000
(_COMMA,) = b","
_BRACE, _BRACKET = b"{["
# An object costs microseconds. Attributes, the smallest ones that come in numbers, have two in 50 bytes.
_BYTES_PER_OBJECT: Final = 12
_ALWAYS: Final = 1000
_COUNTED_AT_ONCE: Final = 1 << 18
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

# Halves of surrogate pairs, and whole pairs, which are passed over. Before them: escaped backslashes. It begins
# with a character, for which the text is searched at once: tried everywhere it would take 25 ms a megabyte, for which
# nobody else gets the GIL.
_SURROGATES: Final = re.compile(
    rb"(\\(?<!\\\\)(?:\\\\)*+)(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def how_many(body: bytes, *characters: int) -> int:
    """How often the characters are in a body; 0 for one that is too short to matter. `bytes.count` takes ten times as
    long where there are many.
    """
    if len(body) <= _SHORT_BYTES:
        return 0
    data = np.frombuffer(body, np.uint8)
    parts = [data[at : at + _COUNTED_AT_ONCE] for at in range(0, len(data), _COUNTED_AT_ONCE)]
    return sum(int(np.count_nonzero(part == one)) for part in parts for one in characters)


def check_items(body: bytes, bytes_per_item: int) -> None:
    """Raises: Unusual where items of lists and objects have fewer bytes than that in the mean"""
    if how_many(body, _COMMA) > len(body) // bytes_per_item:
        raise Unusual


def check_objects(body: bytes) -> None:
    """Raises: WireError where there are so many objects and lists that reading them takes too long for the bytes"""
    if how_many(body, _BRACE, _BRACKET) > _ALWAYS + len(body) // _BYTES_PER_OBJECT:
        raise WireError("the JSON is made of very small objects")


def parse_json(body: bytes) -> object:
    """The value of a JSON text. Halves of surrogate pairs become U+FFFD. Raises: WireError"""
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as err:
        repaired = _SURROGATES.sub(_repair, body).decode(errors="replace")
        try:
            return orjson.loads(repaired)
        except orjson.JSONDecodeError:
            raise WireError(f"not JSON: {err}") from err


def _repair(found: "re.Match[bytes]") -> bytes:
    """Half of a surrogate pair stands for no character."""
    return found[0] if found[2] else found[1] + b"ufffd"
