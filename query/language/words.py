"""The words of TraceQL and the spelling of its constants."""

import re
from collections.abc import Callable
from typing import Final

from query.language.ast import Type
from tables.units import NS_PER_MS, NS_PER_S

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
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 24 * 3600 * NS_PER_S,
}

# Names and strings, in which no comment begins, and comments. A comment that is not closed has no end.
_COMMENTS = re.compile(
    r"""(?P<kept>(?:[a-z]+)?\.(?:[^\s{}()=~!<>&|^,"]|"(?:\\[\s\S]|[^"\\])*")+|"(?:\\.|[^"\\\n])*"|`[^`]*`)"""
    r"|//[^\n]*|/\*(?:(?!\*/)[\s\S])*+\*/"
)
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


def without_comments(text: str) -> str:
    """The text with a blank for each comment, `// …` or `/* … */`, outside of names and strings."""
    return _COMMENTS.sub(lambda found: found["kept"] or " ", text) if "/" in text else text


def duration_ns(text: str) -> int:
    """`1h30m`, `1.5s` → nanoseconds, fractions of a nanosecond cut off."""
    total = 0
    for whole, fraction, unit in _DURATION_PART.findall(text):
        total += int(whole) * _UNIT_NS[unit]
        if fraction:
            total += int(fraction) * _UNIT_NS[unit] // 10 ** len(fraction)
    return total


def unquote(text: str) -> str:
    r"""`"a\n"` (with Go's escapes) or a raw string in backticks → the string.

    `\xc3` and `\303` stand for bytes, as in Go: those of one character together make it. Bytes that are not UTF-8
    become U+FFFD, as in spans that have such. Raises: ValueError: an unknown escape
    """
    if text.startswith("`"):
        return text[1:-1].replace("\r", "")
    return _unescaped(text[1:-1], _unescape)


def _unescaped(text: str, unescape: Callable[[str], bytes]) -> str:
    if "\\" not in text:
        return text
    out, at = bytearray(), 0
    for escape in _ESCAPE.finditer(text):
        out += text[at : escape.start()].encode(errors="replace") + unescape(escape[1])
        at = escape.end()
    return (out + text[at:].encode(errors="replace")).decode(errors="replace")


def _unescape(code: str) -> bytes:
    """Translates an escape sequence. `code`: its characters after the backslash. Raises: ValueError"""
    if code in _ESCAPED:
        return _ESCAPED[code].encode()
    if len(code) == 1:
        raise ValueError(f"unknown escape \\{code}")
    number = int(code[1:], 16) if code[0] in "xuU" else int(code, 8)
    if code[0] not in "uU":
        if number > 0xFF:
            raise ValueError(f"\\{code} is not a byte")
        return bytes([number])
    if number > 0x10FFFF or 0xD800 <= number < 0xE000:
        raise ValueError(f"\\{code} is not a character")
    return chr(number).encode()


def _unescape_in_name(code: str) -> bytes:
    """As in strings; what is no escape there stands for itself."""
    try:
        return _unescape(code)
    except ValueError:
        return code.encode(errors="replace")


def attribute_name(text: str) -> tuple[str | None, str]:
    r"""`span."a b".c` → ("span", "a b.c"); `.a` → (None, "a"). In quotes there are escapes, as in strings."""
    scope, _, name = text.partition(".")
    return scope or None, _QUOTED.sub(lambda quoted: _unescaped(quoted[1], _unescape_in_name), name)
