"""Log lines with fields: as logfmt in a text log, and as fields of their own where the log is structured."""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@+{}|%-]+")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_CONTEXT: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=_NOTHING)

Fields = Mapping[str, Any]


class Logfmt:
    """Fields as text, made only if the line is written."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return logfmt(self._fields)


def log_line(log: logging.Logger, level: int, event: str, fields: Fields) -> None:
    """Writes a line. event: what happened, a constant; fields: never a secret"""
    log.log(level, "%s %s", event, Logfmt(fields), extra={"event": event, "fields": fields})


class log_context:  # noqa: N801 (a context manager, by hand: a generator would take several times as long)
    """Lines that are logged inside of the `with` by the same task have these fields, where the log is structured."""

    __slots__ = ("_before", "_fields")

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._before = _CONTEXT.set({**_CONTEXT.get(), **self._fields})

    def __exit__(self, *_: object) -> None:
        _CONTEXT.reset(self._before)


def fields_of(record: logging.LogRecord) -> Fields:
    """What the line's task and the line itself say."""
    return {**_CONTEXT.get(), **getattr(record, "fields", {})}


def logfmt(fields: Fields) -> str:
    """key=value, in quotes where it has to be, without line breaks."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())


def _quoted(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else f"{value:.6g}" if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in escaped) + '"'
