"""Attributes as plain JSON values, and as many parts of an answer as fit into it."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from query.results import Attributes
from tables.units import NS_PER_MS, NS_PER_S

LLM: Final = "application/vnd.grafana.llm"
LLM_JSON: Final = f"{LLM}+json"
# A stack trace or a statement beyond it says little more; the rest is in the trace as JSON.
_TEXT_CHARS_MAX: Final = 2000


def plain(attributes: Iterable[KeyValue], *, short: bool = False) -> dict[str, Any]:
    """Attributes by key. Bytes become hex. short: cuts long texts, and says so"""
    return {one.key: _plain_value(one.value, short=short) for one in attributes}


def _plain_value(value: AnyValue, *, short: bool) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return clipped(value.string_value) if short else value.string_value
        case "array_value":
            return [_plain_value(item, short=short) for item in value.array_value.values]
        case "kvlist_value":
            return plain(value.kvlist_value.values, short=short)
        case "bytes_value":
            return value.bytes_value.hex()
        case "double_value":
            return number(value.double_value)
        case None:
            return None
        case kind:
            return getattr(value, kind)


def labels(attributes: Attributes) -> dict[str, Any]:
    """A query's attributes by key, long texts cut."""
    return {key: clipped(value) if isinstance(value, str) else value for key, value in attributes}


def clipped(text: str) -> str:
    """A text that is cut where it is long, and says so."""
    if len(text) <= _TEXT_CHARS_MAX:
        return text
    return f"{text[:_TEXT_CHARS_MAX]}… ({len(text) - _TEXT_CHARS_MAX} more characters)"


def number(value: float) -> float | str:
    """A number, or the word for one that JSON does not have."""
    return value if math.isfinite(value) else str(value)


def moment(time_ns: int) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    when = datetime.fromtimestamp(time_ns // NS_PER_S, UTC).replace(microsecond=time_ns % NS_PER_S // 1000)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(length_ns: int) -> float:
    """To the microsecond."""
    return round(length_ns / NS_PER_MS, 3)


def fitting(parts: Iterable[Any], bytes_max: int) -> tuple[list[orjson.Fragment], bool]:
    """The first parts whose JSON fits together, and whether these are all."""
    kept: list[orjson.Fragment] = []
    left = bytes_max
    for part in parts:
        text = orjson.dumps(part)
        left -= len(text) + 1
        if left < 0:
            return kept, False
        kept.append(orjson.Fragment(text))
    return kept, True
