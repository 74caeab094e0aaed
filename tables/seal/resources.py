"""Resources and scopes: raw OTLP messages, one per distinct value → one column per attribute."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tables.columns.arrays import ranges
from tables.columns.overflow import KEY_CHARS_MAX, Overflow, entries, rarest, value_field
from tables.columns.types import Codes
from tables.schema import ATTRIBUTE_TYPES, OVERFLOW, attribute_column
from tables.seal.values import array_of, typed_value


class Parsed(NamedTuple):
    """A parsed resource or scope. attributes: key, type word, value; entity_refs: a Resource with only these, or
    empty
    """

    attributes: tuple[tuple[str, str, Any], ...] = ()
    dropped_attributes_count: int = 0
    name: str = ""
    version: str = ""
    entity_refs: bytes = b""


# Lists that take more than that together once each row has its own are kept serialized, as lists of several types are.
_LISTS_BYTES_MAX = 64 << 20
# Larger ones are parsed each time: thousands of them would be too much to keep.
_CACHED_BYTES_MAX = 8192


def parse_resource(raw: bytes) -> Parsed:
    """A resource; an empty one if the bytes are invalid, which cannot happen for a decoded request."""
    return _cached_resource(raw) if len(raw) <= _CACHED_BYTES_MAX else _resource(raw)


def parse_scope(raw: bytes) -> Parsed:
    """A scope; an empty one if the bytes are invalid, which cannot happen for a decoded request."""
    return _cached_scope(raw) if len(raw) <= _CACHED_BYTES_MAX else _scope(raw)


def _resource(raw: bytes) -> Parsed:
    try:
        found = Resource.FromString(raw)
    except DecodeError:
        return Parsed()
    refs = Resource(entity_refs=found.entity_refs).SerializeToString()
    return Parsed(_attributes(found.attributes), found.dropped_attributes_count, entity_refs=refs)


def _scope(raw: bytes) -> Parsed:
    try:
        found = InstrumentationScope.FromString(raw)
    except DecodeError:
        return Parsed()
    return Parsed(_attributes(found.attributes), found.dropped_attributes_count, found.name, found.version)


def _attributes(pairs: Iterable[KeyValue]) -> tuple[tuple[str, str, Any], ...]:
    return tuple((pair.key, *typed_value(pair.value)) for pair in pairs)


# Most records repeat the same few; parsing one costs as much as sealing ten spans.
_cached_resource = lru_cache(maxsize=4096)(_resource)
_cached_scope = lru_cache(maxsize=4096)(_scope)


def service_name(resource: Parsed) -> str | None:
    """The attribute `service.name` if it is a string; of several the last one, as in columns."""
    names = [value for key, word, value in resource.attributes if (key, word) == ("service.name", "string")]
    return names[-1] if names else None


def resource_columns(resources: Sequence[Parsed], codes: Codes, columns_max: int, overflow: Overflow) -> dict[str, Any]:
    """Columns `resource.<key>`. codes: each row's resource, shape (rows,)"""
    columns = _attribute_columns("resource", [r.attributes for r in resources], codes, columns_max, overflow)
    dropped = [r.dropped_attributes_count for r in resources]
    refs = [r.entity_refs or None for r in resources]
    if any(refs):
        columns["resource_entity_refs"] = _spread(refs, codes, pa.binary())
    return columns | _count_column("resource_dropped_attributes_count", dropped, codes)


def scope_columns(scopes: Sequence[Parsed], codes: Codes, columns_max: int, overflow: Overflow) -> dict[str, Any]:
    """Columns scope_name, scope_version and `instrumentation.<key>`. codes: each row's scope, shape (rows,)"""
    columns: dict[str, Any] = {
        "scope_name": _spread([s.name for s in scopes], codes, pa.string()),
        "scope_version": _spread([s.version for s in scopes], codes, pa.string()),
    }
    columns |= _attribute_columns("instrumentation", [s.attributes for s in scopes], codes, columns_max, overflow)
    dropped = [s.dropped_attributes_count for s in scopes]
    return columns | _count_column("scope_dropped_attributes_count", dropped, codes)


def _attribute_columns(
    scope: str,
    attributes: Sequence[Sequence[tuple[str, str, Any]]],
    codes: Codes,
    columns_max: int,
    overflow: Overflow,
) -> dict[str, Any]:
    values: dict[tuple[str, str], dict[int, Any]] = {}
    for number, triples in enumerate(attributes):
        for key, word, value in triples:
            values.setdefault((key, word), {})[number] = value
    if len(values) > columns_max or any(len(key) > KEY_CHARS_MAX for key, _ in values):
        rows = np.bincount(codes, minlength=len(attributes)).tolist()
        rare = rarest({a: sum(rows[number] for number in by) for a, by in values.items()}, columns_max)
        _overflow(scope, {attribute: values.pop(attribute) for attribute in sorted(rare)}, codes, overflow)
    for key, word in _too_long_lists(values, np.bincount(codes, minlength=len(attributes)).tolist()):
        lists = values.pop((key, word))
        serialized = {number: _serialized(word, value) for number, value in lists.items()}
        values.setdefault((key, "any"), {}).update(serialized)
    columns: dict[str, Any] = {}
    for (key, word), by_number in values.items():
        by_code = [by_number.get(number) for number in range(len(attributes))]
        columns[attribute_column(scope, key, word)] = _spread(by_code, codes, ATTRIBUTE_TYPES[word])
    return columns


def _overflow(scope: str, values: dict[tuple[str, str], dict[int, Any]], codes: Codes, overflow: Overflow) -> None:
    """Adds overflow entries for each row. values: by attribute, then by number of the resource or scope"""
    by_field: dict[str, list[tuple[int, str, Any]]] = {}
    for (key, word), by_number in values.items():
        column = attribute_column(scope, key, word)
        for number, value in by_number.items():
            kept = _serialized(word, value) if word.endswith("[]") else value
            by_field.setdefault(value_field(word), []).append((number, column, kept))
    for field, found in by_field.items():
        found.sort(key=lambda entry: entry[0])
        counts = np.bincount([number for number, _, _ in found], minlength=int(codes.max()) + 1)
        starts = np.cumsum(counts) - counts
        at = pa.array(ranges(starts[codes], counts[codes]))
        # Codes: each span of a resource has its names and values, of up to 64 KiB each.
        columns = pa.array([column for _, column, _ in found], pa.string()).dictionary_encode().take(at)
        kept = pa.array([value for _, _, value in found], OVERFLOW.field(field).type)
        kept = (kept if pa.types.is_primitive(kept.type) else kept.dictionary_encode()).take(at)
        overflow.add(np.repeat(np.arange(len(codes)), counts[codes]), entries(columns, field, kept))


def _too_long_lists(values: Mapping[tuple[str, str], dict[int, Any]], rows: list[int]) -> list[tuple[str, str]]:
    """The attributes that are not lists of each row, since all lists together would take too much. rows: of each number

    The shortest ones are.
    """
    sizes = sorted((_spread_bytes(lists, rows), one) for one, lists in values.items() if one[1].endswith("[]"))
    ends = itertools.accumulate(size for size, _ in sizes)
    return [one for (_, one), end in zip(sizes, ends, strict=True) if end > _LISTS_BYTES_MAX]


def _spread_bytes(by_number: dict[int, Any], rows: list[int]) -> int:
    """Bytes of lists once each row has its own copy."""
    return sum(rows[number] * (8 * len(value) + sum(map(len, map(str, value)))) for number, value in by_number.items())


def _serialized(word: str, value: Any) -> bytes:
    return AnyValue(array_value=array_of(word, value)).SerializeToString()


def _spread(by_code: list[Any], codes: Codes, type_: Any) -> Any:
    """by_code[codes]: strings and bytes as a dictionary of distinct values, other types plain.

    A resource may have 256 kB, and a plain column would copy it for each span.
    """
    if type_ not in (pa.string(), pa.binary()):
        return pa.array(by_code, type_).take(pa.array(codes))
    distinct: dict[Any, int] = {}
    numbers = [-1 if value is None else distinct.setdefault(value, len(distinct)) for value in by_code]
    index = np.array(numbers, np.int32)[codes]
    mask = index < 0
    indices = pa.array(index, mask=mask) if mask.any() else pa.array(index)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(distinct), type_))


def _count_column(name: str, counts: list[int], codes: Codes) -> dict[str, Any]:
    if not any(counts):
        return {}
    return {name: pa.array(np.array(counts, np.uint32)[codes])}
