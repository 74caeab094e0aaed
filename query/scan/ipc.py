"""Partial results between workers: a header and tables as Arrow IPC streams, one after the other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import pyarrow as pa

from query.results import Inspected

_EMPTY = pa.table({})
# A megabyte takes longer to send, even on one machine, than to compress and read again.
_COMPRESSED_FROM_BYTES = 64 << 10
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")
_COUNTS = tuple(field.name for field in fields(Inspected))


class Received(NamedTuple):
    """The arguments of `write_partial`, as the reader of its bytes gets them back."""

    header: Mapping[str, Any]
    inspected: Inspected
    tables: list[pa.Table]
    shared_rows: pa.Table | None


def write_partial(
    kind: bytes,
    header: Mapping[str, Any],
    inspected: Inspected,
    tables: Sequence[pa.Table],
    shared_rows: pa.Table | None,
) -> bytes:
    """A partial as bytes.

    kind: of which question it is; header: anything that JSON can hold; shared_rows: None: there are none
    """
    size = sum(table.nbytes for table in tables) + (0 if shared_rows is None else shared_rows.nbytes)
    text = json.dumps({"header": header, "inspected": asdict(inspected), "tables": len(tables), "bytes": size})
    sink = pa.BufferOutputStream()
    head = _EMPTY.replace_schema_metadata({kind: text})
    for table in (head, _EMPTY if shared_rows is None else shared_rows, *tables):
        options = _COMPRESSED if table.nbytes > _COMPRESSED_FROM_BYTES else None
        with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
            stream.write_table(table)
    return bytes(sink.getvalue())


def partial_bytes(data: bytes) -> int:
    """What a partial takes when it is read: its tables may be compressed. Raises: as `read_partial`"""
    (head,) = (pa.ipc.open_stream(data).schema.metadata or {}).values()
    return max(len(data), int(json.loads(head).get("bytes", 0)))


def read_partial(kind: bytes, data: bytes) -> Received:
    """What `write_partial` wrote. Raises: pa.ArrowInvalid where it is damaged, KeyError or TypeError where it is of
    another kind
    """
    source = pa.BufferReader(data)

    def read() -> pa.Table:
        return pa.ipc.open_stream(source).read_all()

    head, shared_rows = json.loads(read().schema.metadata[kind]), read()
    tables = [read() for _ in range(head["tables"])]
    # A worker of a later version may count more.
    inspected = {name: head["inspected"][name] for name in _COUNTS if name in head["inspected"]}
    return Received(head["header"], Inspected(**inspected), tables, shared_rows if shared_rows.num_columns else None)
