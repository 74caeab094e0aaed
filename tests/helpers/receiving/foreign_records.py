"""Values of records of topic `spans` as another producer may write them, most of them wrong."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from tests.helpers.live.live_store import DECODER
from tests.helpers.live.whole_way import request, span


def batch() -> pa.RecordBatch:
    """Two spans."""
    return DECODER.decode([request([span(1), span(2, attributes={"a": "b"})], service_name="s")]).spans


def value_of(spans: Any, length: int | None = None, *, old_form: bool = False) -> bytes:
    """length: what it claims to decompress to; old_form: of Arrow's stream, as before 0.15"""
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(use_legacy_format=old_form)
    with ipc.new_stream(sink, spans.schema, options=options) as writer:
        writer.write_batch(spans)
    body = sink.getvalue()
    packed = pa.Codec("zstd").compress(body, asbytes=True)
    return (body.size if length is None else length).to_bytes(4, "little") + packed


def with_column(name: str, column: Any) -> bytes:
    """The two spans, one of whose columns is another."""
    spans = batch()
    return value_of(spans.set_column(spans.schema.get_field_index(name), name, column))


def hostile_offsets() -> bytes:
    """Texts whose offsets lie beyond their bytes."""
    offsets = pa.py_buffer(np.array([0, 1_000_000_000, 1], np.int32))
    return with_column("status_message", pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"x")]))


def hostile_indices() -> bytes:
    """Dictionary indices of values that are not there."""
    indices = pa.array([0, 30_000], pa.int16())
    return with_column("name", pa.DictionaryArray.from_arrays(indices, pa.array(["x"]), safe=False))


def nulls(name: str) -> bytes:
    column = batch().column(name)
    return with_column(name, pa.array([None, None], column.type))


def not_text() -> bytes:
    offsets = pa.py_buffer(np.array([0, 1, 2], np.int32))
    return with_column(
        "status_message", pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    )


WRONG: Final = {
    "name is numbers": with_column("name", pa.array([1, 2])),
    "start is text": with_column("start_ns", pa.array(["1", "2"])),
    "kind is wide": with_column("kind", pa.array([1, 2], pa.int64())),
    "trace ids of 8 bytes": with_column("trace_id", pa.array([b"x" * 8] * 2, pa.binary(8))),
    "attributes are text": with_column("attributes", pa.array(["a", "b"])),
    "attributes of plain keys": with_column(
        "attributes", pa.array([[{"key": "a"}], []], pa.list_(pa.struct([("key", pa.string())])))
    ),
    "resource is text": with_column("resource", pa.array(["a", "b"]).dictionary_encode()),
    "no trace ids": nulls("trace_id"),
    "no starts": nulls("start_ns"),
    "no attributes": nulls("attributes"),
    "no resources": nulls("resource"),
    "offsets beyond": hostile_offsets(),
    "indices beyond": hostile_indices(),
    "not UTF-8": not_text(),
    "a column is missing": value_of(batch().drop_columns(["scope"])),
    "other columns": value_of(pa.RecordBatch.from_pydict({"a": pa.array([1, 2])})),
    "a column twice": value_of(
        pa.RecordBatch.from_arrays([*batch().columns, pa.array([1, 2])], names=[*batch().schema.names, "kind"])
    ),
    "claims a gigabyte": value_of(batch(), (1 << 30) - 1),
    "claims 200 MB": value_of(batch(), 200 << 20),
    "claims less": value_of(batch(), 8),
    "no frame": b"\x10\0\0\0" + b"x" * 64,
    "half a frame": value_of(batch())[:60],
    "no batch": (0).to_bytes(4, "little") + pa.Codec("zstd").compress(b"", asbytes=True),
}
