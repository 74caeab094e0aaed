"""A line of the log for each span that is received or discarded: to look for what a client sends, not for production.

Names and fields are Tempo's. A line takes some ten microseconds, so the settings switch it on.
"""

import logging
import re
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tables.schema import VALUE_FIELDS
from tables.seal.resources import parse_resource

received_log = logging.getLogger(__name__ + ".received")
discarded_log = logging.getLogger(__name__ + ".discarded")

_ERROR: Final = 2
_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES: Final = ("UNSET", "OK", "ERROR")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@+-]+")
_NOT_OF_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_VALUE_CHARS_MAX: Final = 512
_NS_PER_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class SpanLogConfig:
    """enabled: log at all; all_attributes: with all attributes, name, kind, status and duration; errors_only: only
    spans with status error
    """

    enabled: bool = False
    all_attributes: bool = False
    errors_only: bool = False


def log_received(spans: pa.RecordBatch, config: SpanLogConfig) -> None:
    """A line for each span. In: columns of a record"""
    _log(received_log, "msg=received", spans, config)


def log_discarded(spans: pa.RecordBatch, config: SpanLogConfig, tenant: str, reason: str) -> None:
    """A line for each span of a tenant."""
    _log(discarded_log, f"msg=discarded tenant={_quoted(tenant)} reason={reason}", spans, config)


def _log(log: logging.Logger, beginning: str, spans: pa.RecordBatch, config: SpanLogConfig) -> None:
    if config.errors_only:
        spans = spans.filter(pc.equal(spans.column("status_code"), _ERROR))
    ids = zip(spans.column("trace_id").to_pylist(), spans.column("span_id").to_pylist(), strict=True)
    if not config.all_attributes:
        for trace_id, span_id in ids:
            log.info("%s spanid=%s traceid=%s", beginning, span_id.hex(), trace_id.hex())
        return
    names = ("name", "kind", "status_code", "duration_ns", "resource", "attributes")
    columns = [spans.column(name).to_pylist() for name in names]
    for (trace_id, span_id), name, kind, status, duration_ns, resource, attributes in zip(ids, *columns, strict=True):
        fields = [(key, value) for key, _, value in parse_resource(resource).attributes]
        fields += [(pair["key"], _value(pair)) for pair in attributes]
        shown = " ".join(f"span_{_NOT_OF_A_NAME.sub('_', key)}={_quoted(value)}" for key, value in fields)
        log.info(
            "%s %s span_name=%s span_duration_seconds=%s span_kind=SPAN_KIND_%s span_status=STATUS_CODE_%s spanid=%s "
            "traceid=%s",
            beginning,
            shown,
            _quoted(name),
            duration_ns / _NS_PER_S,
            _word(_KINDS, kind),
            _word(_STATUSES, status),
            span_id.hex(),
            trace_id.hex(),
        )


def _value(pair: dict[str, Any]) -> Any:
    return next((value for name in VALUE_FIELDS if (value := pair.get(name)) is not None), "")


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if 0 <= number < len(words) else words[0]


def _quoted(value: Any) -> str:
    """A value as logfmt writes it: in quotes where it has to be, without line breaks."""
    text = value.hex() if isinstance(value, bytes) else str(value).lower() if isinstance(value, bool) else str(value)
    text = text[:_VALUE_CHARS_MAX]
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{escaped}"'
