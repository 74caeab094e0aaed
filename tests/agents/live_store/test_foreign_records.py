"""Records of topic `spans` that other producers wrote: counted, logged, passed over; their neighbours are unhurt."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY
from pyarrow import ipc

from query.trace.trace import find_trace
from tables.errors import WireError
from tables.live.partition import CutPolicy
from tables.wire import record
from tests.helpers.generated import Fed
from tests.helpers.live_store import DECODER, TP0, message, shared_message, world
from tests.helpers.loops import in_loop
from tests.helpers.whole_way import request, span


def batch() -> pa.RecordBatch:
    return DECODER.decode([request([span(1), span(2, attributes={"a": "b"})], service_name="s")]).spans


def value_of(spans: Any, length: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, spans.schema) as writer:
        writer.write_batch(spans)
    body = sink.getvalue()
    packed = pa.Codec("zstd").compress(body, asbytes=True)
    return (body.size if length is None else length).to_bytes(4, "little") + packed


def with_column(name: str, column: Any) -> bytes:
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


WRONG = {
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


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in WRONG.items()])
def test_each_is_refused_where_it_is_read(value: bytes) -> None:
    """With an error that says what is wrong; nothing is read beyond a buffer, no memory taken for a claim."""
    before = pa.total_allocated_bytes()
    with pytest.raises(WireError):
        record.decode(value)
    assert pa.total_allocated_bytes() - before < 10 << 20


def test_a_column_that_nobody_knows_is_left_out() -> None:
    """As `raw`, which is made here only."""
    spans = batch().append_column("raw", pa.array([b"x", b"y"]))
    assert record.decode(value_of(spans)).equals(batch())


def skipped() -> float:
    name = "stretto_live_store_records_skipped_total"
    return sum(
        REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0 for reason in ("headers", "value", "unexpected")
    )


HEADERS: dict[str, Any] = {
    "no version": [],
    "null version": [("v", None)],
    "null count": [("v", b"1"), ("n", None), ("t", b"0-0")],
    "count of 5,000 digits": [("v", b"1"), ("n", b"9" * 5000), ("t", b"0-0")],
    "count of 100 digits": [("v", b"1"), ("n", b"9" * 100), ("t", b"0-0")],
    "times of 30 digits": [("v", b"1"), ("n", b"1"), ("t", b"0-" + b"9" * 30)],
    "null owners": [("v", b"2"), ("n", b"1"), ("t", b"0-0"), ("m", None)],
    "not text": [("v", b"1"), ("n", b"1"), ("t", b"\xff")],
}


@in_loop
async def test_beside_two_tenants(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In shared records and their own: head, segment, block and a restart have every good span, offsets go on."""
    policy = CutPolicy(partitions=1, segment_age_ms=1000, block_age_ms=5000)
    before = skipped()
    with world(tmp_path, policy=policy) as w, caplog.at_level(logging.WARNING):
        await w.manager.resume([TP0])
        offset = 0
        for value in WRONG.values():
            await w.manager.take(shared_message(offset, 1, 1))
            await w.manager.take(shared_message(offset + 1, 1, 1, value=value))
            await w.manager.take(message(offset + 2, 1))
            await w.manager.take(message(offset + 3, 2, value=value))
            offset += 4
        for headers in HEADERS.values():
            await w.manager.take(message(offset, 1, headers=headers))
            offset += 1
        assert w.state.next_offset == offset
        good = {"t": 2 * len(WRONG), "t1": len(WRONG)}
        assert {tenant: w.spans(tenant) for tenant in good} == good
        await w.manager.seal_all()
        assert {tenant: w.spans(tenant) for tenant in good} == good
        assert skipped() - before == 2 * len(WRONG) + len(HEADERS)
        assert "skipped spans[0]@1: " in caplog.text
    with world(tmp_path, policy=policy) as w:
        await w.manager.resume([TP0])
        assert w.state.next_offset == offset
        await w.manager.take(message(offset, 1, seconds=1000))
        await w.flush_all()
        assert w.consumer.committed == [offset]
        live = w.store.view("t1")
        sources = [source for meta in live.blocks.blocks for source in w.store.blocks.sources(meta)]
        table = find_trace(sources, b"\1" * 16)
        assert table is not None
        assert len(table) == len(WRONG)


def test_the_generator_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Spans that it cannot read, or that came at an absurd time, are left out alone."""
    from agents.generator.processors import tenant

    real = tenant.Batch

    def made(spans: Any, *args: Any) -> Any:
        if "poison" in spans.column("name").to_pylist():
            raise IndexError("no")
        return real(spans, *args)

    monkeypatch.setattr(tenant, "Batch", made)
    fed = Fed()
    for offset, name in enumerate(["good", "poison", "good"]):
        decoded = DECODER.decode([request([span(offset + 1, name=name)], service_name="s")]).spans
        fed.generator.add(offset, record.decode(record.encode(decoded)[0]), fed.now_ms, fed.now_ms / 1000)
    fed.generator.add(9, record.decode(record.encode(batch())[0]), 2**62, fed.now_ms / 1000)
    pushed = fed.push()
    assert "1 spans of partition 1, offset -1, cannot be counted" in caplog.text
    assert any(("span_name", "good") in labels for labels in pushed)


def test_schemas_on_several_threads() -> None:
    """Records with all kinds of columns, read by the seal, queries and the generator at once."""
    optional = ["flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"]
    spans, values = batch(), []
    for chosen in range(1, 2 ** len(optional)):
        made = spans
        for bit, name in enumerate(optional):
            if chosen >> bit & 1:
                made = made.append_column(name, pa.array([0] * len(spans), pa.uint32()))
        values += [value_of(made), value_of(made.select(made.schema.names[::-1]))]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda n: len(record.decode(values[n * 7 % len(values)])), range(4000)))
    finally:
        sys.setswitchinterval(interval_s)
    assert set(done) == {len(spans)}
