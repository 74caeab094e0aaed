"""The words of TraceQL and the spelling of its constants."""

import re
from typing import Final

from query.language.ast import Type

ATTRIBUTE_SCOPES: Final = ("span", "resource", "event", "link", "instrumentation", "parent")

# First spelling (the one in the tree, and the key under which a result shows the field) → type.
INTRINSICS: Final[dict[str, Type]] = {
    "name": Type.STRING,
    "status": Type.STATUS,
    "statusMessage": Type.STRING,
    "kind": Type.KIND,
    "duration": Type.DURATION,
    "rootName": Type.STRING,
    "rootServiceName": Type.STRING,
    "traceDuration": Type.DURATION,
    "nestedSetLeft": Type.INT,
    "nestedSetRight": Type.INT,
    "nestedSetParent": Type.INT,
    "span:id": Type.STRING,
    "span:parentID": Type.STRING,
    "span:childCount": Type.INT,
    "trace:id": Type.STRING,
    "event:name": Type.STRING,
    "event:timeSinceStart": Type.DURATION,
    "link:traceID": Type.STRING,
    "link:spanID": Type.STRING,
    "instrumentation:name": Type.STRING,
    "instrumentation:version": Type.STRING,
}

# Second spelling → first.
ALIASES: Final = {
    "span:name": "name",
    "span:status": "status",
    "span:statusMessage": "statusMessage",
    "span:kind": "kind",
    "span:duration": "duration",
    "trace:rootName": "rootName",
    "trace:rootService": "rootServiceName",
    "trace:duration": "traceDuration",
}

STATUS: Final = {"unset": 0, "ok": 1, "error": 2}
KIND: Final = {"unspecified": 0, "internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}

CONSTANTS: Final[dict[str, tuple[str | int | bool | None, Type]]] = {
    "true": (True, Type.BOOL),
    "false": (False, Type.BOOL),
    "nil": (None, Type.NIL),
    "minInt": (-(2**63), Type.INT),
    "maxInt": (2**63 - 1, Type.INT),
    **{word: (number, Type.STATUS) for word, number in STATUS.items()},
    **{word: (number, Type.KIND) for word, number in KIND.items()},
}

_UNIT_NS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter, which some keyboards give
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
}

_DURATION_PART = re.compile(r"(\d+)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h|d)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
}


def duration_ns(text: str) -> int:
    """`1h30m`, `1.5s` → nanoseconds, fractions of a nanosecond cut off."""
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(text):
        total += int(whole) * _UNIT_NS[unit]
        if fraction:
            total += int(fraction) * _UNIT_NS[unit] // 10 ** len(fraction)
    return total


def unquote(text: str) -> str:
    r"""`"a\n"` (with Go's escapes) or a raw string in backticks → the string. ValueError: an unknown escape."""
    return text[1:-1] if text.startswith("`") else _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1]
    if code in _ESCAPED:
        return _ESCAPED[code]
    if len(code) == 1:
        raise ValueError(f"unknown escape \\{code}")
    number = int(code[1:], 16) if code[0] in "xuU" else int(code, 8)
    if number > 0x10FFFF or 0xD800 <= number < 0xE000:
        raise ValueError(f"\\{code} is not a character")
    return chr(number)


def attribute_name(text: str) -> tuple[str | None, str]:
    r"""`span."a b".c` → ("span", "a b.c"); `.a` → (None, "a"). In quotes, \" and \\ are escapes."""
    scope, _, name = text.partition(".")
    key = _QUOTED.sub(lambda quoted: re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), name)
    return scope or None, key
