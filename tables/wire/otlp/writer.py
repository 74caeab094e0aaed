"""Rows of a trace → OTLP's ResourceSpans. Only the order of attributes is lost.

Concatenated protobuf messages merge into one. So each distinct attribute value is encoded once, as a span, resource or
scope with nothing else. The pieces of a row are joined as bytes, and parsed into one message. Equal bytes also mean an
equal resource or scope.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tables.columns.arrays import plain
from tables.errors import WireError
from tables.schema import FIXED, NO_PARENT, OPTIONAL, SPAN_FIELDS, AttributeColumn, parse_attribute_column
from tables.turns import as_list

_UINT64: Final = 2**64 - 1  # times are unsigned in OTLP; the sum of two of ours wraps as there

# Field of a resource, scope or span → the column it comes from, "" and 0 where it has none.
_RESOURCE_COLUMNS: Final = ("resource_dropped_attributes_count", "resource_schema_url", "resource_entity_refs")
_SCOPE_COLUMNS: Final = ("scope_name", "scope_version", "scope_dropped_attributes_count", "scope_schema_url")
_SPAN_COLUMNS: Final = (
    *SPAN_FIELDS,
    "trace_state",
    "flags",
    "dropped_attributes_count",
    "dropped_events_count",
    "dropped_links_count",
)


def to_resource_spans(table: pa.Table) -> list[ResourceSpans]:
    """OTLP of a trace: rows with an equal resource together, within it those with an equal scope, by start.

    In:     columns as in tables.schema, rows in any order; strings may be dictionary-encoded; other columns
            are ignored
    Out:    groups by their first span's start; attributes in the order of the columns; a scope, a resource
            and a status are always present, and empty where nothing is known
    Raises: WireError if a nested value is not what its column says
    """
    if table.num_rows == 0:
        return []
    # One chunk per column and one dictionary in it: then each step below costs a few µs per column.
    table = _by_start(table.unify_dictionaries().combine_chunks())
    resource_attributes = _attributes(table, "resource", Resource)
    scope_attributes = _attributes(table, "instrumentation", InstrumentationScope)
    span_attributes = _attributes(table, "span", Span)
    events = _lists(table, "events", _event)
    links = _lists(table, "links", _link)
    raw = _raw(table) if "raw" in table.column_names else {}
    resources: dict[Any, ResourceSpans] = {}
    scopes: dict[Any, ScopeSpans] = {}
    for row, (resource, scope, fields) in enumerate(
        zip(
            zip(resource_attributes, *_values(table, _RESOURCE_COLUMNS), strict=True),
            zip(scope_attributes, *_values(table, _SCOPE_COLUMNS), strict=True),
            zip(*_values(table, _SPAN_COLUMNS), strict=True),
            strict=True,
        )
    ):
        if row in raw:
            resources[row] = _raw_spans(*raw[row])
            continue
        scope_spans = scopes.get((resource, scope))
        if scope_spans is None:
            resource_spans = resources.get(resource)
            if resource_spans is None:
                resource_spans = resources[resource] = _resource_spans(*resource)
            scope_spans = scopes[resource, scope] = _add_scope(resource_spans, *scope)
        span = _add_span(scope_spans, *fields)
        span.MergeFromString(span_attributes[row])
        if row in events:
            span.events.extend(events[row])
        if row in links:
            span.links.extend(links[row])
    return list(resources.values())


def _raw(table: pa.Table) -> dict[int, tuple[bytes, bytes]]:
    """Row → span and owner, for spans that are stored raw."""
    owners = as_list(plain(table["raw_owner"].chunk(0)))
    pairs = zip(as_list(table["raw"]), owners, strict=True)
    return {row: (raw, owner) for row, (raw, owner) in enumerate(pairs) if raw is not None}


def _raw_spans(raw: bytes, owner: bytes) -> ResourceSpans:
    try:
        out = ResourceSpans.FromString(owner)
        out.scope_spans[0].spans.add().MergeFromString(raw)
        return out
    except (DecodeError, IndexError) as err:
        raise WireError(f"column 'raw' holds bytes that are not OTLP: {err}") from err


def _by_start(table: pa.Table) -> pa.Table:
    starts_ns = table["start_ns"].to_numpy()
    if bool(np.all(starts_ns[:-1] <= starts_ns[1:])):
        return table
    return table.take(pa.array(np.argsort(starts_ns, kind="stable"))).combine_chunks()


def _values(table: pa.Table, names: tuple[str, ...]) -> Iterator[list[Any]]:
    """The columns as lists; an absent column or value gives its type's zero."""
    for name in names:
        schema = FIXED if name in FIXED.names else OPTIONAL
        type_ = schema.field(name).type
        zero: Any = "" if pa.types.is_string(type_) else b"" if pa.types.is_binary(type_) else 0
        if name not in table.column_names:
            yield [zero] * table.num_rows
            continue
        # A dictionary may be a whole row group's, with many values that no row here uses.
        column = plain(table[name].chunk(0))
        # Ids are ten times faster by numpy, as objects: its own bytes would lose zeros at their end.
        ids = pa.types.is_fixed_size_binary(column.type)
        values = column.to_numpy(zero_copy_only=False).tolist() if ids else as_list(column)
        yield [zero if value is None else value for value in values] if column.null_count else values


# ---- resources, scopes, spans


def _resource_spans(attributes: bytes, dropped: int, schema_url: str, entity_refs: bytes) -> ResourceSpans:
    out = ResourceSpans(resource=Resource(dropped_attributes_count=dropped), schema_url=schema_url)
    out.resource.MergeFromString(attributes)
    out.resource.MergeFromString(entity_refs)
    return out


def _add_scope(
    to: ResourceSpans, attributes: bytes, name: str, version: str, dropped: int, schema_url: str
) -> ScopeSpans:
    scope = InstrumentationScope(name=name, version=version, dropped_attributes_count=dropped)
    out = to.scope_spans.add(scope=scope, schema_url=schema_url)
    out.scope.MergeFromString(attributes)
    return out


def _add_span(  # noqa: PLR0913 (a row of _SPAN_COLUMNS)
    to: ScopeSpans,
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes,
    name: str,
    kind: Any,  # OTLP's number; protobuf's stubs have a type of their own for it
    start_ns: int,
    duration_ns: int,
    status_code: Any,  # as kind
    status_message: str,
    trace_state: str,
    flags: int,
    dropped_attributes: int,
    dropped_events: int,
    dropped_links: int,
) -> Span:
    return to.spans.add(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent_span_id if parent_span_id and parent_span_id != NO_PARENT else b"",
        name=name,
        kind=kind,
        start_time_unix_nano=start_ns & _UINT64,
        end_time_unix_nano=(start_ns + duration_ns) & _UINT64,
        status=Status(code=status_code, message=status_message),
        trace_state=trace_state,
        flags=flags,
        dropped_attributes_count=dropped_attributes,
        dropped_events_count=dropped_events,
        dropped_links_count=dropped_links,
    )


# ---- attributes


def _array(kind: str) -> Callable[[list[Any]], AnyValue]:
    field = {"string": "string_value", "int": "int_value", "double": "double_value", "bool": "bool_value"}[kind]
    return lambda items: AnyValue(array_value=ArrayValue(values=[AnyValue(**{field: item}) for item in items]))


# Type word of a column's name (tables.schema.ATTRIBUTE_TYPES) → its values as AnyValue.
_TO_ANY: Final[Mapping[str, Callable[[Any], AnyValue]]] = {
    "string": lambda value: AnyValue(string_value=value),
    "int": lambda value: AnyValue(int_value=value),
    "double": lambda value: AnyValue(double_value=value),
    "bool": lambda value: AnyValue(bool_value=value),
    "bytes": lambda value: AnyValue(bytes_value=value),
    "string[]": _array("string"),
    "int[]": _array("int"),
    "double[]": _array("double"),
    "bool[]": _array("bool"),
    "any": AnyValue.FromString,
}


def _attributes(table: pa.Table, scope: str, message: Callable[..., Any]) -> list[bytes]:
    """For each row, its attributes of the scope as a serialized `message` that has nothing else."""
    parts: list[list[bytes]] = [[] for _ in range(table.num_rows)]
    for name in table.column_names:
        attribute = parse_attribute_column(name) if name.startswith(scope) else None
        if attribute is not None and attribute.scope == scope:
            try:
                _add_column(parts, table[name].chunk(0), attribute, message)
            except DecodeError as err:
                raise WireError(f"column {name!r} holds bytes that are not an OTLP AnyValue: {err}") from err
    return [b"".join(part) for part in parts]


def _add_column(
    parts: list[list[bytes]], column: pa.Array, attribute: AttributeColumn, message: Callable[..., Any]
) -> None:
    """Adds each value of a column to its row's parts. A value that many rows share is encoded once."""
    key, to_any = attribute.key, _TO_ANY[attribute.type]
    # Lists cannot be looked up, and 0.0 would be taken for -0.0.
    each = pa.types.is_nested(column.type) or pa.types.is_floating(column.type)
    known: dict[Any, bytes] = {}
    for row, value in enumerate(as_list(plain(column))):
        if value is None:
            continue
        encoded = None if each else known.get(value)
        if encoded is None:
            encoded = _encode(message, KeyValue(key=key, value=to_any(value)))
            if not each:
                known[value] = encoded
        parts[row].append(encoded)


def _encode(message: Callable[..., Any], attribute: KeyValue) -> bytes:
    return bytes(message(attributes=[attribute]).SerializeToString())


# ---- events and links


def _lists(table: pa.Table, name: str, build: Callable[[dict[str, Any]], Any]) -> dict[int, list[Any]]:
    """Row → its events or links, for the few rows that have any."""
    if name not in table.column_names:
        return {}
    column = table[name]
    rows = np.flatnonzero(pc.fill_null(pc.greater(pc.list_value_length(column), 0), False).to_numpy())
    lists = as_list(column.take(pa.array(rows)))
    try:
        return {row: [build(item) for item in items] for row, items in zip(rows.tolist(), lists, strict=True)}
    except DecodeError as err:
        raise WireError(f"column {name!r} holds bytes that are not an OTLP value: {err}") from err


def _event(event: dict[str, Any]) -> Span.Event:
    return Span.Event(
        time_unix_nano=(event["time_ns"] or 0) & _UINT64,
        name=event["name"] or "",
        attributes=_key_values(event["attributes"]),
        dropped_attributes_count=event["dropped_attributes_count"] or 0,
    )


def _link(link: dict[str, Any]) -> Span.Link:
    return Span.Link(
        trace_id=link["trace_id"] or b"",
        span_id=link["span_id"] or b"",
        trace_state=link["trace_state"] or "",
        attributes=_key_values(link["attributes"]),
        dropped_attributes_count=link["dropped_attributes_count"] or 0,
        flags=link["flags"] or 0,
    )


def _key_values(items: list[dict[str, Any]] | None) -> list[KeyValue]:
    return [KeyValue(key=item["key"] or "", value=_nested_any(item)) for item in items or ()]


def _nested_any(item: dict[str, Any]) -> AnyValue:
    """A value of tables.schema.KEY_VALUE: the one field that is not null, or no value."""
    for field in ("string_value", "int_value", "bool_value", "double_value", "bytes_value"):
        if item[field] is not None:
            return AnyValue(**{field: item[field]})
    if item["array_value"] is not None:
        return AnyValue(array_value=ArrayValue.FromString(item["array_value"]))
    if item["kvlist_value"] is not None:
        return AnyValue(kvlist_value=KeyValueList.FromString(item["kvlist_value"]))
    return AnyValue()
