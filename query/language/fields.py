"""Which columns of the span table hold a field of TraceQL."""

from functools import lru_cache
from typing import Final

from query.language import ast
from tables.schema import ATTRIBUTE_TYPES, attribute_column

INTRINSIC_COLUMNS: Final = {
    "name": "name",
    "status": "status_code",
    "statusMessage": "status_message",
    "kind": "kind",
    "duration": "duration_ns",
    "rootName": "root_name",
    "rootServiceName": "root_service",
    "traceDuration": "trace_duration_ns",
    "nestedSetLeft": "nested_left",
    "nestedSetRight": "nested_right",
    "nestedSetParent": "nested_parent",
    "span:id": "span_id",
    "span:parentID": "parent_span_id",
    "trace:id": "trace_id",
    "instrumentation:name": "scope_name",
    "instrumentation:version": "scope_version",
}


# Fields that are made of several columns.
COMPUTED_COLUMNS: Final = {"span:childCount": ("nested_left", "nested_parent")}


# Scopes whose fields are in the entries of a list column.
ENTRY_COLUMNS: Final = {"event": "events", "link": "links"}


# Where an attribute without a scope is looked for: the span's own goes before the resource's.
UNSCOPED: Final = ("span", "resource")


def entry_column(field: ast.Field) -> str | None:
    """The list column whose entries have the field; None for a field of the span itself."""
    scope = field.scope if isinstance(field, ast.Attribute) else field.name.partition(":")[0]
    return ENTRY_COLUMNS.get(scope or "")


@lru_cache(maxsize=1024)
def field_columns(field: ast.Field) -> tuple[tuple[str, str], ...]:
    """(column, type word) of every column that may hold the field, in the order in which they are asked."""
    if (column := entry_column(field)) is not None:
        return ((column, ""), ("start_ns", ""))
    if isinstance(field, ast.Intrinsic):
        if field.name in COMPUTED_COLUMNS:
            return tuple((column, "int") for column in COMPUTED_COLUMNS[field.name])
        return ((INTRINSIC_COLUMNS[field.name], ""),)
    scopes = UNSCOPED if field.scope is None else (field.scope,)
    return tuple((attribute_column(scope, field.key, word), word) for scope in scopes for word in ATTRIBUTE_TYPES)
