"""Parses the JSON of receivers' bodies."""

import re
from typing import Final

import orjson

from tables.errors import WireError

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

# Halves of surrogate pairs, and whole pairs, which are passed over. Before them: escaped backslashes. It begins
# with a character, for which the text is searched at once: tried everywhere it would take 25 ms a megabyte, for which
# nobody else gets the GIL.
_SURROGATES: Final = re.compile(
    rb"(\\(?<!\\\\)(?:\\\\)*+)(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class Unusual(Exception):  # noqa: N818  (says what it is)
    """JSON that is not in the form that clients usually send; it may be right all the same."""


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
