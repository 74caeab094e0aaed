"""Tempo's values → ours: durations, mappings, processors. Values of a variable stay as they are."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from agents.generator.config import SERVICE_GRAPHS, SPAN_METRICS
from app.settings.document import Text
from app.settings.values import parse_duration

_DEFAULT: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):-([^}]*)\}")
_SPAN_METRICS_PARTS: Final = frozenset({f"{SPAN_METRICS}-{part}" for part in ("count", "latency", "size")})
_LOCAL_BLOCKS: Final = "local-blocks"


class Converted(NamedTuple):
    """value: ours. changed, dropped, manual: what there is to say about it; "" for nothing"""

    value: Any
    changed: str = ""
    dropped: str = ""
    manual: str = ""


def seconds(value: Any) -> Converted:
    """A duration as a number of seconds."""
    if isinstance(value, Text):
        found = _DEFAULT.fullmatch(value)
        text = str(value)
        if found:
            text = f"${{{found[1]}:-{_number(found[2])}}}"
        return Converted(Text(text), manual="is set by a variable, which must now be a number of seconds")
    return Converted(_number(value))


def _number(value: Any) -> Any:
    try:
        found = parse_duration(value)
    except ValueError:
        return value  # the validation says what is wrong
    return int(found) if isinstance(found, float) and found.is_integer() else found


def labels(value: Any) -> Converted:
    """A mapping of labels as a list of name=value."""
    if not isinstance(value, dict):
        return Converted(value)
    return Converted([_with_variable(f"{name}={text}", text) for name, text in value.items()])


def _with_variable(text: str, part: Any) -> str:
    return Text(text) if isinstance(part, Text) else text


def processors(value: Any) -> Converted:
    """The names of processors that Stretto has."""
    names: Sequence[Any] = value if isinstance(value, list) else []
    if not names:
        return Converted(value)
    found = [name for name in names if name in (SERVICE_GRAPHS, SPAN_METRICS)]
    changed = dropped = manual = ""
    if parts := [name for name in names if name in _SPAN_METRICS_PARTS]:
        if SPAN_METRICS not in found:
            found.append(SPAN_METRICS)
        changed = f"{', '.join(parts)}: all of {SPAN_METRICS} are made"
    if _LOCAL_BLOCKS in names:
        dropped = f"{_LOCAL_BLOCKS}: TraceQL metrics read all spans; no processor is needed for them"
    known = {SERVICE_GRAPHS, SPAN_METRICS, _LOCAL_BLOCKS, *_SPAN_METRICS_PARTS}
    if others := [str(name) for name in names if name not in known]:
        manual = f"{', '.join(others)[:100]}: there is no such processor here"
    return Converted(found, changed, dropped, manual)
