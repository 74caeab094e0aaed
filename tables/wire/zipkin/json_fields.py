"""Fields of Zipkin's JSON objects, each checked by itself.

Source: zipkin-api, zipkin2-api.yaml
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from tables.errors import WireError
from tables.wire.otlp.encode import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    Memo,
    Value,
)
from tables.wire.zipkin.translate import NOWHERE, Annotation, Endpoint, Tag, tag_of

TIME_US_MAX: Final = (1 << 63) // 1000
TAGS_KEPT: Final = 8192

_KINDS: Final = {
    "CLIENT": KIND_CLIENT,
    "SERVER": KIND_SERVER,
    "PRODUCER": KIND_PRODUCER,
    "CONSUMER": KIND_CONSUMER,
}
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_INT: Final = re.compile(rb"-?(?:0|[1-9][0-9]{0,17})")
_DOUBLE: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_BOOLS: Final = {b"true": True, b"false": False}
_PORT_MAX: Final = 65_535
# Longer ones do not repeat, and would take memory.
_KEPT_LENGTH_MAX: Final = 256

Object = dict[str, Any]
Typed = Callable[[bytes], Value]


def kind_of(found: object) -> int:
    """OTLP's number of a span's kind."""
    return _KINDS.get(found.upper(), KIND_UNSPECIFIED) if isinstance(found, str) else KIND_UNSPECIFIED


def part(holder: Object, key: str, kind: type, where: str) -> Any:
    """An object or a list; None: absent. kind: dict or list. Raises: WireError, as all here"""
    found = holder.get(key)
    if found is not None and not isinstance(found, kind):
        raise WireError(f"{where}.{key} is not {'an object' if kind is dict else 'a list'}")
    return found


def id_bytes(holder: Object, key: str, size: int, where: str, *, needed: bool = True) -> bytes:
    """An id of hexadecimal digits; shorter ones are filled up on the left, as Zipkin does."""
    text = holder.get(key)
    if text is None and not needed:
        return b""
    if not isinstance(text, str) or _HEX.fullmatch(text) is None or len(text) > 2 * size:
        raise WireError(f"{where}.{key} is {str(text)[:64]!r}, not 1 to {2 * size} hexadecimal digits")
    return bytes.fromhex(text.rjust(2 * size, "0"))


def text_bytes(holder: Object, key: str, where: str) -> bytes:
    """Reads a text as UTF-8. One that is absent is empty."""
    found = holder.get(key)
    if found is None:
        return b""
    if not isinstance(found, str):
        raise WireError(f"{where}.{key} is not a string")
    return found.encode()


def number(holder: Object, key: str, where: str, most: int) -> int:
    """A whole number from 0; absent: 0. Some clients send them as text or as floats."""
    found = holder.get(key)
    if found is None:
        return 0
    if isinstance(found, str) and found.isdecimal() and len(found) < 20:
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
        raise WireError(f"{where}.{key} is {str(found)[:40]}, not a whole number from 0 to {most}")
    return found


def endpoint(holder: Object, key: str, where: str) -> Endpoint:
    """Reads a host: the name of its service, its addresses and port. Absent or empty: `NOWHERE`"""
    found = part(holder, key, dict, where)
    if not found:
        return NOWHERE
    at = f"{where}.{key}"
    texts = [text_bytes(found, name, at) for name in ("ipv4", "ipv6")]
    return Endpoint(
        text_bytes(found, "serviceName", at), [text for text in texts if text], number(found, "port", at, _PORT_MAX)
    )


def annotation(found: Any, where: str) -> Annotation:
    """Reads an annotation, something that happened in the span at a time."""
    if not isinstance(found, dict):
        raise WireError(f"{where} is not an annotation: an object is expected")
    return Annotation(number(found, "timestamp", where, TIME_US_MAX), text_bytes(found, "value", where))


def tags_of_texts(tags: Mapping[str, str], typed: Typed) -> Sequence[Tag]:
    """Makes tags of an object that has only texts. Most repeat from span to span, and are looked up."""
    found = list(map(KEPT[typed].get, tags.items()))
    return found if _are_all(found) else tags_of_object(tags, typed)


def _are_all(found: list[Tag | None]) -> "TypeGuard[list[Tag]]":
    return all(found)


def tags_of_object(tags: Mapping[str, Any], typed: Typed) -> Sequence[Tag]:
    """Makes tags of an object whose values may be of any type, not only texts."""
    kept, found = KEPT[typed], []
    for pair in tags.items():
        # Only texts: 1 and True are equal, and a list has no hash.
        tag = kept.get(pair) if pair[1].__class__ is str else tag_of(pair[0].encode(), tag_value(pair[1], typed))
        found.append(_kept_tag(pair, typed) if tag is None else tag)
    return found


def _kept_tag(pair: tuple[str, str], typed: Typed) -> Tag:
    tag = tag_of(pair[0].encode(), typed(pair[1].encode()))
    if len(pair[0]) + len(pair[1]) <= _KEPT_LENGTH_MAX:
        KEPT[typed].keep(pair, tag)
    return tag


def tag_value(value: Any, typed: Typed) -> Value:
    """Zipkin's tags are texts. What is none keeps its type: some clients send numbers and bools."""
    if isinstance(value, str):
        return typed(value.encode())
    if isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else float(value)
    return b"" if value is None else str(value).encode()


def as_text(text: bytes) -> Value:
    """The value of a tag where tags stay texts, which is the default."""
    return text


def as_typed(text: bytes) -> Value:
    """The value of a tag where `parse_string_tags` is set: what looks like a number or a bool becomes one."""
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _DOUBLE.fullmatch(text) else text


KEPT: Final[dict[Typed, Memo[tuple[str, str], Tag]]] = {typed: Memo(TAGS_KEPT) for typed in (as_text, as_typed)}
