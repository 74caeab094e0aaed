"""The span table: the vocabulary of all packages.

One row per span; the rows of a trace lie together, traces are sorted by `trace_id`, the rows of a trace by `start_ns`.
The names carry TraceQL's words and the units. One nullable column per attribute and type:

    resource.service.name          a string attribute of the resource
    span.http.status_code:int      the same key with another type is another column
    instrumentation.<key>          an attribute of the instrumentation scope

The name fixes the type, so that any set of blocks can be read together by name.

Beyond `storage.trace.block.attribute_columns_max` of them, the rarest attributes of a file share one list column,
`overflow`; each entry names the column that the attribute would have had. Readers show them as if they had it. In
DuckDB: `list_filter(overflow, lambda x: x.column = 'span.rare:int')[1].int_value`.

docs/schema.md describes the table for other tools, and says what stays as it is.
"""

from typing import Final, NamedTuple

import pyarrow as pa

from tables.errors import NEWER

# Files say in their footer, under this key, which version of the table they hold. Files of before November 2026 say
# nothing: they are of version 1. A new column, or a new type word, is no new version: the name says all. Whoever
# changes what a name means, or removes a column of FIXED, counts on.
SCHEMA_KEY: Final = "stretto.schema"
SCHEMA_VERSION: Final = 1

# Typed children of OTLP's AnyValue, in the order of its field numbers.
VALUE_FIELDS: Final = (
    "string_value",
    "bool_value",
    "int_value",
    "double_value",
    "array_value",
    "kvlist_value",
    "bytes_value",
)

KEY_VALUE: Final = pa.struct(
    [
        pa.field("key", pa.string()),
        pa.field("string_value", pa.string()),
        pa.field("bool_value", pa.bool_()),
        pa.field("int_value", pa.int64()),
        pa.field("double_value", pa.float64()),
        # Serialized OTLP ArrayValue, KeyValueList: nested as deep as the client wished.
        pa.field("array_value", pa.binary()),
        pa.field("kvlist_value", pa.binary()),
        pa.field("bytes_value", pa.binary()),
    ]
)

EVENT: Final = pa.struct(
    [
        pa.field("time_ns", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("attributes", pa.list_(KEY_VALUE)),
        pa.field("dropped_attributes_count", pa.uint32()),
    ]
)

LINK: Final = pa.struct(
    [
        pa.field("trace_id", pa.binary()),
        pa.field("span_id", pa.binary()),
        pa.field("trace_state", pa.string()),
        pa.field("attributes", pa.list_(KEY_VALUE)),
        pa.field("dropped_attributes_count", pa.uint32()),
        pa.field("flags", pa.uint32()),
    ]
)

# An attribute without a column of its own. The type word of `column` says which value it has: its own, or bytes_value
# for bytes and, as a serialized OTLP AnyValue, for `any` and lists.
OVERFLOW: Final = pa.struct(
    [
        pa.field("column", pa.string()),
        pa.field("string_value", pa.string()),
        pa.field("bool_value", pa.bool_()),
        pa.field("int_value", pa.int64()),
        pa.field("double_value", pa.float64()),
        pa.field("bytes_value", pa.binary()),
    ]
)

# The parent_span_id of a span without a parent.
NO_PARENT: Final = bytes(8)

# What a span has of its own in every form, from the record to the block file.
SPAN_FIELDS: Final = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_ns",
    "duration_ns",
    "status_code",
    "status_message",
)

# Present in every segment and block file.
FIXED: Final = pa.schema(
    [
        pa.field("trace_id", pa.binary(16)),
        pa.field("span_id", pa.binary(8)),
        pa.field("parent_span_id", pa.binary(8)),  # NO_PARENT: the span has no parent
        pa.field("name", pa.string()),
        pa.field("kind", pa.int8()),  # OTLP's numbers: 0 unspecified, 1 internal, 2 server …
        pa.field("start_ns", pa.int64()),
        # The end that was sent less the start, as 64 bits hold it: negative where the client's clock went back.
        # How long a span took is `trace_facts.elapsed_ns`.
        pa.field("duration_ns", pa.int64()),
        pa.field("status_code", pa.int8()),  # OTLP's numbers: 0 unset, 1 ok, 2 error
        pa.field("status_message", pa.string()),  # "" where the span has none
        pa.field("scope_name", pa.string()),
        pa.field("scope_version", pa.string()),
        # Numbers of a nested set per trace, from 1: a is an ancestor of b when
        # a.left < b.left and b.right < a.right. They are made per segment: a trace whose spans lie in
        # several segments is renumbered by the reader.
        pa.field("nested_left", pa.int32()),
        pa.field("nested_right", pa.int32()),
        # The parent's nested_left; -1: the span has no parent; 0: its parent is not in this segment.
        pa.field("nested_parent", pa.int32()),
        # Facts of the trace as far as this segment knows it, repeated on each of its rows: `trace_facts`. The start
        # is 0 where no span has a time.
        pa.field("trace_start_ns", pa.int64()),
        pa.field("trace_duration_ns", pa.int64()),
        pa.field("root_name", pa.string()),  # null: the root span is not in this segment
        pa.field("root_service", pa.string()),  # null: as above, or without resource.service.name
    ]
)

# Present only in files where a row has something in them.
OPTIONAL: Final = pa.schema(
    [
        pa.field("trace_state", pa.string()),
        pa.field("flags", pa.uint32()),
        pa.field("dropped_attributes_count", pa.uint32()),
        pa.field("dropped_events_count", pa.uint32()),
        pa.field("dropped_links_count", pa.uint32()),
        pa.field("resource_dropped_attributes_count", pa.uint32()),
        pa.field("scope_dropped_attributes_count", pa.uint32()),
        pa.field("resource_schema_url", pa.string()),
        # A serialized OTLP Resource that has nothing but its entity_refs.
        pa.field("resource_entity_refs", pa.binary()),
        pa.field("scope_schema_url", pa.string()),
        pa.field("events", pa.list_(EVENT)),
        pa.field("links", pa.list_(LINK)),
        pa.field("overflow", pa.list_(OVERFLOW)),
        # A span that could not be shredded, as a serialized OTLP Span, and its resource and scope as a ResourceSpans
        # without spans; other columns hold what is known.
        pa.field("raw", pa.binary()),
        pa.field("raw_owner", pa.binary()),
    ]
)

SCOPES: Final = ("span", "resource", "instrumentation")

# Type word after the colon of an attribute column's name → its Arrow type. A plain name is a string's.
ATTRIBUTE_TYPES: Final[dict[str, pa.DataType]] = {
    "string": pa.string(),
    "int": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "bytes": pa.binary(),
    "string[]": pa.list_(pa.string()),
    "int[]": pa.list_(pa.int64()),
    "double[]": pa.list_(pa.float64()),
    "bool[]": pa.list_(pa.bool_()),
    # Everything else (mixed or empty arrays, key-value lists, no value): a serialized OTLP AnyValue.
    "any": pa.binary(),
}


class AttributeColumn(NamedTuple):
    """The parts of an attribute column's name."""

    scope: str  # one of SCOPES
    key: str
    type: str  # a key of ATTRIBUTE_TYPES


def unknown_version(found: str) -> str:
    """What is wrong with a file of a version that this build does not know, to put behind its name."""
    return f"has version {found} of the schema; this build reads up to {SCHEMA_VERSION}; {NEWER}"


def attribute_column(scope: str, key: str, type_: str = "string") -> str:
    """The column name of an attribute: `span.http.route`, `span.http.status_code:int`.

    A string key that itself ends like a type, such as `a:int`, gets the suffix `:string`, so that no two attributes
    share a column.
    """
    if type_ != "string":
        return f"{scope}.{key}:{type_}"
    ends_like_type = key.rpartition(":")[2] in ATTRIBUTE_TYPES and ":" in key
    return f"{scope}.{key}:string" if ends_like_type else f"{scope}.{key}"


def parse_attribute_column(column: str) -> AttributeColumn | None:
    """The inverse of `attribute_column`; None if the column is not an attribute."""
    scope, dot, rest = column.partition(".")
    if not dot or scope not in SCOPES:
        return None
    key, colon, type_ = rest.rpartition(":")
    if colon and type_ in ATTRIBUTE_TYPES:
        return AttributeColumn(scope, key, type_)
    return AttributeColumn(scope, rest, "string")
