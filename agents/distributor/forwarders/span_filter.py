"""Leaves spans out of a request by conditions: the request's bytes stay as they are, but for those spans."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from agents.distributor.forwarders.conditions import Condition, FieldComparison, Joined, Matching, Negated, Path
from tables.columns.arrays import numbers, plain
from tables.columns.types import Bools
from tables.errors import WireError
from tables.seal.resources import parse_resource
from tables.wall import NativePanic, walled
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.raw_spans import RawSpans
from tables.wire.span_attributes import SpanAttributes

_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_ATTRIBUTE_BYTES_MAX: Final = 16 << 20


class SpanFilter:
    """Of one forwarder. Not thread-safe."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        """conditions: a span that one of them holds for is left out"""
        self._conditions = conditions
        self._decoder, self._messages = OtlpDecoder(_ATTRIBUTE_BYTES_MAX), RawSpans()

    def filtered(self, request: bytes) -> tuple[bytes, int]:
        """The request without the spans that a condition holds for, and their number; without any span: empty.

        Raises: WireError, NativePanic if the request cannot be decoded
        """
        if not self._conditions:
            return request, 0
        decoded = walled(self._decoder.decode, [request])
        out = np.zeros(len(decoded.spans), np.bool_)
        for condition in self._conditions:
            out |= holds(condition, decoded.spans)
        if not out.any():
            return request, 0
        keep = np.ones(int(decoded.received.sum()), np.bool_)
        keep[np.arange(len(keep)) if decoded.good is None else np.flatnonzero(decoded.good)] = ~out
        if not keep.any():
            return b"", int(out.sum())
        return self._without(request, keep), int(out.sum())

    def _without(self, request: bytes, keep: Bools) -> bytes:
        """Spans stay bytes. Resources and scopes are unknown fields, which a message keeps as they are."""
        message, at = self._messages.parse(request), 0
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                count = len(scope.spans)
                spans = list(compress(scope.spans, keep[at : at + count]))
                at += count
                if len(spans) < count:
                    del scope.spans[:]
                    scope.spans.extend(spans)
        return bytes(message.SerializeToString())


def holds(condition: Condition, spans: pa.RecordBatch) -> Bools:
    """Whether the condition holds for each span, shape (rows,). In: columns of a record"""
    match condition:
        case Joined(word, parts):
            join = np.logical_and if word == "and" else np.logical_or
            found: Bools = join.reduce([holds(part, spans) for part in parts])
            return found
        case Negated(part):
            return ~holds(part, spans)
        case FieldComparison(path, operator, value):
            return _compared(path, operator, value, spans)
        case Matching(path, pattern):
            texts = _values(path, spans).get("string_value")
            return _none(spans) if texts is None else _bools(pc.match_substring_regex(texts, pattern))


def _compared(path: Path, operator: str, value: Any, spans: pa.RecordBatch) -> Bools:
    values = _values(path, spans)
    if value is None:
        there = _none(spans)
        for column in values.values():
            there |= _bools(pc.is_valid(column))
        return there if operator == "!=" else ~there
    compare = _COMPARE[operator]
    # A value of another type is not equal, and neither less nor greater.
    found = ~_none(spans) if operator == "!=" else _none(spans)
    for name in _fields_of(value):
        if (column := values.get(name)) is not None:
            compared, valid = _bools(compare(column, value)), _bools(pc.is_valid(column))
            found = np.where(valid, compared, found)
    return found


def _fields_of(value: Any) -> Sequence[str]:
    if isinstance(value, bool):
        return ("bool_value",)
    return ("string_value",) if isinstance(value, str) else ("int_value", "double_value")


def _values(path: Path, spans: pa.RecordBatch) -> dict[str, Any]:
    """The values of a field by their type, each of shape (rows,), null where a span has none of that type."""
    match path.field:
        case "name":
            column = spans.column("name")
            return {"string_value": plain(column)}
        case "status_message":
            return {"string_value": spans.column("status_message")}
        case "kind" | "status_code":
            return {"int_value": spans.column(path.field)}
        case "resource_attribute":
            return _resource_values(path.key, spans.column("resource"))
        case _:
            return _attribute_values(path.key, SpanAttributes(spans.column("attributes")))


def _attribute_values(key: str, attributes: SpanAttributes) -> dict[str, Any]:
    if key not in attributes.keys:
        return {}
    codes, places = attributes.key_codes(), np.full(attributes.rows, -1, np.int64)
    hits = np.flatnonzero(codes == attributes.keys.index(key)) + attributes.first
    places[np.searchsorted(attributes.offsets, hits, side="right") - 1] = hits
    taken = pa.array(places, mask=places < 0)
    names = [field.name for field in attributes.pairs.type if field.name != "key"]
    return {name: attributes.pairs.field(name).take(taken) for name in names}


def _resource_values(key: str, column: pa.DictionaryArray) -> dict[str, Any]:
    by_type: dict[str, list[Any]] = {}
    resources = column.dictionary.to_pylist()
    for number, raw in enumerate(resources):
        for name, _, value in parse_resource(raw).attributes:
            if name == key and isinstance(value, str | bool | int | float):
                kind = _fields_of(value)[-1] if isinstance(value, float) else _fields_of(value)[0]
                by_type.setdefault(kind, [None] * len(resources))[number] = value
    rows = pa.array(numbers(column.indices))
    return {kind: pa.array(values).take(rows) for kind, values in by_type.items()}


def _none(spans: pa.RecordBatch) -> Bools:
    return np.zeros(len(spans), np.bool_)


def _bools(column: Any) -> Bools:
    found: Bools = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return found


FAULTS: Final = (WireError, NativePanic)
