"""The outline of a trace → columns of numbers, with the parent of each span as a row."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.api.backend import TraceAnswer
from app.api.trace_view.packed import pack
from tables.columns.arrays import big_endian, fixed_bytes, one_array, plain
from tables.columns.trace_facts import time_range_ns

NO_PARENT: Final = -1  # a root
MISSING_PARENT: Final = -2  # the parent is not there, or the span is its own ancestor
_ID_BYTES: Final = 8

Numbers = npt.NDArray[Any]


def outline_parts(answer: TraceAnswer, trace_id: bytes) -> list[bytes]:
    """The body of an answer; docs/api.md has its columns. In: as `query.trace.outline.trace_outline` gives it"""
    status = {} if answer.complete else {"status": "PARTIAL", "message": answer.message}
    facts: dict[str, Any] = {"version": 1, "traceId": trace_id.hex(), **status}
    table = answer.table
    if table is None or not table.num_rows:
        return pack({**facts, "spans": 0, "services": [], "names": []}, {})
    start_ns, duration_ns = _int64(table, "start_ns"), _int64(table, "duration_ns")
    first_ns, end_ns = time_range_ns(start_ns, duration_ns)
    names, name_codes = _coded(table, "name")
    services, service_codes = _coded(table, "resource.service.name")
    parent = _parent_rows(_int64(table, "nested_left"), _int64(table, "nested_parent"))
    orphans = np.flatnonzero(parent == MISSING_PARENT)
    facts |= {
        "spans": table.num_rows,
        "startTimeUnixNano": str(first_ns),
        "durationNano": str(end_ns - first_ns),
        "rootName": _first(table, "root_name"),
        "rootServiceName": _first(table, "root_service"),
        "services": services,
        "names": names,
    }
    columns: dict[str, npt.NDArray[Any]] = {
        "start": _relative(start_ns, first_ns),
        "duration": duration_ns.astype(np.float64),
        "parent": parent,
        "name": name_codes,
        "service": service_codes,
        "kind": _int64(table, "kind").astype(np.uint8),
        "status": _int64(table, "status_code").astype(np.uint8),
        "spanId": _id_bytes(table, "span_id"),
        "orphan": orphans.astype(np.uint32),
        "orphanParentId": _id_bytes(table, "parent_span_id").reshape(-1, _ID_BYTES)[orphans].reshape(-1),
        **_events(table, first_ns),
        **_links(table, trace_id),
    }
    return pack(facts, columns)


def matching_parts(answer: TraceAnswer) -> list[bytes]:
    """The body of an answer: the column `spanId`. In: as `query.trace.outline.matching_spans` gives it"""
    status = {} if answer.complete else {"status": "PARTIAL", "message": answer.message}
    table = answer.table
    ids = np.zeros(0, np.uint8) if table is None else _id_bytes(table, "span_id")
    return pack({"version": 1, "spans": len(ids) // _ID_BYTES, **status}, {"spanId": ids})


def _parent_rows(left: Numbers, parent_left: Numbers) -> npt.NDArray[np.int32]:
    """The row of each row's parent. In: nested-set numbers of one trace"""
    row_of_left = np.zeros(int(left.max()) + 1, np.int32)
    row_of_left[left] = np.arange(len(left), dtype=np.int32)
    found = row_of_left[np.maximum(parent_left, 0)]
    found[parent_left == 0] = MISSING_PARENT
    found[parent_left < 0] = NO_PARENT
    return found


def _relative(time_ns: Numbers, first_ns: int) -> npt.NDArray[np.float64]:
    """In ns since the start of the trace; exact within a hundred days."""
    with np.errstate(over="ignore"):
        exact = (time_ns - first_ns).astype(np.float64)
    return np.where(time_ns > 0, exact, time_ns.astype(np.float64) - float(first_ns))


def _int64(table: pa.Table, name: str) -> Numbers:
    found: Numbers = one_array(table[name]).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found


def _id_bytes(table: pa.Table, name: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(fixed_bytes(one_array(table[name])).tobytes(), np.uint8)


def _first(table: pa.Table, name: str) -> str:
    return (table[name][0].as_py() or "") if name in table.column_names else ""


def _coded(table: pa.Table, name: str) -> tuple[list[str], npt.NDArray[np.uint32]]:
    """The distinct texts in the order of their first rows, "" for null, and the number of each row's."""
    if name not in table.column_names:
        return [""], np.zeros(table.num_rows, np.uint32)
    coded = plain(one_array(table[name])).fill_null("").dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.uint32)


def _entries(table: pa.Table, name: str) -> tuple[Numbers, Any]:
    """The row of each event or link, and all of them."""
    lists = one_array(table[name])
    lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), lengths), pc.list_flatten(lists)


def _events(table: pa.Table, first_ns: int) -> dict[str, Numbers]:
    """The row and the time of each event, in the order of the rows."""
    if "events" not in table.column_names:
        return {"eventSpan": np.zeros(0, np.uint32), "eventTime": np.zeros(0, np.float64)}
    rows, events = _entries(table, "events")
    times = pc.struct_field(events, "time_ns").fill_null(0).to_numpy(zero_copy_only=False)
    return {"eventSpan": rows.astype(np.uint32), "eventTime": _relative(times, first_ns)}


def _links(table: pa.Table, trace_id: bytes) -> dict[str, Numbers]:
    """The row of each link, and the row of the span that it leads to; NO_PARENT: that is in another trace, or lost."""
    if "links" not in table.column_names:
        return {"linkSpan": np.zeros(0, np.uint32), "linkTo": np.zeros(0, np.int32)}
    rows, links = _entries(table, "links")
    to = np.full(len(rows), NO_PARENT, np.int32)
    ids = pc.struct_field(links, "span_id")
    inner = pc.and_(pc.equal(pc.struct_field(links, "trace_id"), trace_id), pc.equal(pc.binary_length(ids), _ID_BYTES))
    places = np.flatnonzero(inner.fill_null(False).to_numpy(zero_copy_only=False))
    if len(places):
        own = big_endian(one_array(table["span_id"]))[:, 0]
        order = np.argsort(own, kind="stable")
        wanted = big_endian(ids.take(pa.array(places)).cast(pa.binary(_ID_BYTES)))[:, 0]
        at = np.minimum(np.searchsorted(own[order], wanted), len(own) - 1)
        to[places] = np.where(own[order][at] == wanted, order[at], NO_PARENT)
    return {"linkSpan": rows.astype(np.uint32), "linkTo": to}
