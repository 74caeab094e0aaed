"""Seals records into a segment's table: sorts spans, computes trace facts, makes one column per attribute."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tables.columns.arrays import big_endian
from tables.columns.overflow import Overflow
from tables.columns.repeated import repeated_rows
from tables.columns.trace_facts import trace_facts
from tables.columns.types import Codes, Int64s
from tables.columns.whole_traces import suspects
from tables.schema import OPTIONAL, parse_attribute_column
from tables.seal.attributes import attribute_columns
from tables.seal.events import event_columns
from tables.seal.order import RAW, RAW_OWNER, Numbers, Order, Rows
from tables.seal.resources import (
    parse_resource,
    parse_scope,
    resource_columns,
    scope_columns,
    service_name,
)

_COUNTS = ("flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count")


def seal(batches: Sequence[pa.RecordBatch], attribute_columns_max: int = 1000) -> pa.Table:
    """The spans of some records (from `wire.record.decode`) as one table in the form of `tables.schema`.

    attribute_columns_max: attributes beyond it, the rarest, go to the column `overflow`
    Rows are sorted by trace id, then start. Of spans that are equal in every field only one is kept. Strings are
    dictionary-encoded if that is cheap, else plain
    """
    rows = Rows(list(batches))
    places, group = suspects(rows.same_keys())
    if len(places):
        few = Rows(rows.some_batches(places))
        repeated = repeated_rows(group, lambda: _columns(few, attribute_columns_max))
        rows.leave_out(places[repeated])
    return pa.table(_columns(rows, attribute_columns_max))


def _columns(rows: Rows, attribute_columns_max: int) -> dict[str, Any]:
    order = rows.order
    names, resources, scopes = Numbers(), Numbers(), Numbers()
    name = rows.take_codes("name", names)
    resource = rows.take_codes("resource", resources)
    scope = rows.take_codes("scope", scopes)
    parsed = [parse_resource(raw) for raw in resources.values]
    start = rows.take_numbers("start_ns")
    duration = rows.take_numbers("duration_ns")
    span_id, parent_id = rows.take("span_id"), rows.take("parent_span_id")
    parent_number = big_endian(parent_id)[:, 0]
    kind = rows.take_numbers("kind")
    span_number = big_endian(span_id)[:, 0]
    facts = trace_facts(order.trace, order.starts, span_number, parent_number, kind, start, duration)
    nested = facts.nested
    columns: dict[str, Any] = {
        "trace_id": rows.take("trace_id"),
        "span_id": span_id,
        "parent_span_id": parent_id,
        "name": names.strings(name),
        "kind": pa.array(kind),
        "start_ns": pa.array(start),
        "duration_ns": pa.array(duration),
        "status_code": pa.array(rows.take_numbers("status_code")),
        "status_message": rows.take("status_message"),
        "nested_left": pa.array(nested.left),
        "nested_right": pa.array(nested.right),
        "nested_parent": pa.array(nested.parent),
        "trace_start_ns": pa.array(facts.start_ns[order.trace]),
        "trace_duration_ns": pa.array(facts.duration_ns[order.trace]),
    }
    services = [service_name(r) for r in parsed]
    columns |= _root_columns(order, facts.root, names, name, services, resource)
    overflow = Overflow(order.rows)
    # Spans have at least half of the attribute columns.
    shared = attribute_columns_max // 2
    of_resources = resource_columns(parsed, resource, shared, overflow)
    parsed_scopes = [parse_scope(raw) for raw in scopes.values]
    of_scopes = scope_columns(parsed_scopes, scope, shared - len(of_resources), overflow)
    columns |= of_scopes
    columns |= _optional_columns(rows)
    columns |= of_resources
    used = sum(parse_attribute_column(name) is not None for name in (*of_resources, *of_scopes))
    columns |= attribute_columns(rows, attribute_columns_max - used, overflow)
    columns |= event_columns(rows)
    return columns | overflow.columns()


def _root_columns(
    order: Order, root: Int64s, names: Numbers, name: Codes, services: list[str | None], resource: Codes
) -> dict[str, Any]:
    found = root >= 0
    name_of = np.where(found, name[root], -1).astype(np.int32)
    service = Numbers()
    service_number = np.array(
        [-1 if s is None else service.number_of.setdefault(s, len(service.number_of)) for s in services],
        np.int32,
    )
    service_of = np.where(found, service_number[resource[root]], -1).astype(np.int32)
    return {
        "root_name": names.strings(name_of[order.trace]),
        "root_service": service.strings(service_of[order.trace]),
    }


def _optional_columns(rows: Rows) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in _COUNTS:
        if rows.has(name):
            columns[name] = rows.take_optional(name, pa.scalar(0, OPTIONAL.field(name).type))
    if rows.has("trace_state"):
        columns["trace_state"] = rows.take_optional("trace_state", pa.scalar(""))
    if rows.has(RAW):
        columns[RAW] = rows.take_optional(RAW, pa.scalar(None, pa.binary()))
        owners = Numbers()
        columns[RAW_OWNER] = owners.strings(rows.take_codes(RAW_OWNER, owners), pa.binary())
    for name in ("resource_schema_url", "scope_schema_url"):
        if rows.has(name):
            urls = Numbers()
            codes = rows.take_codes(name, urls)
            codes[codes < 0] = urls.number_of.setdefault("", len(urls.number_of))
            columns[name] = urls.strings(codes)
    return columns
