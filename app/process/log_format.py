"""The log as logfmt or JSON: a line for each record, with the fields that `agents.log_line` has of it."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from agents.log_line import fields_of, logfmt

FORMATS: Final = ("text", "logfmt", "json")
_LEVELS: Final = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}
_NAMES: Final = {"WARNING": "warn", "CRITICAL": "error"}


class _Structured(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> Mapping[str, Any]:
        """In the order in which they are written: the level comes early, for who reads only the beginning."""
        at_s = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, Any] = {
            "ts": f"{at_s}.{int(record.msecs):03d}Z",
            "level": _NAMES.get(record.levelname, record.levelname.lower()),
            "logger": record.name,
            "msg": getattr(record, "event", None) or record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            found["err"] = repr(record.exc_info[1])
            found["stack"] = self.formatException(record.exc_info)
        return found


class LogfmtFormatter(_Structured):
    """key=value, as Tempo's log."""

    def format(self, record: logging.LogRecord) -> str:
        return logfmt(self.fields(record))


class JsonFormatter(_Structured):
    """One JSON object for each line."""

    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(self.fields(record), default=str).decode(errors="replace")


def logging_config(log_format: str, log_level: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`. log_format: logfmt or json; log_level: as in the settings"""
    formatter = JsonFormatter if log_format == "json" else LogfmtFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"default": {"()": formatter}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "default"}},
        "root": {"level": _LEVELS[log_level], "handlers": ["default"]},
    }
