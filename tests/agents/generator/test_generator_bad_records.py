"""Records that the metrics generator cannot read: none ends it, none costs another tenant anything."""

import asyncio
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from faust.types import TP

from agents.generator.own_metrics import DISCARDED
from tables.wire import record
from tables.wire.span_bytes import span_bytes
from tests.helpers.generator.generated import DECODER, NOW_MS
from tests.helpers.generator.generator_bench import CONFIG, GRAPH, Bench
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.panics import PanicException


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"value": b"no record"}, id="value"),
        pytest.param({"value": None}, id="no value"),
        pytest.param({"headers": []}, id="headers"),
        pytest.param({"key": b"a/b"}, id="tenant"),
    ],
)
def test_a_bad_record(changes):
    """It is passed over, and committed with its neighbours."""

    async def run():
        bench = Bench()
        bench.take(0, 1, 1)
        bench.take(0, 2, 2, **changes)
        assert await bench.push() == [1]
        assert bench.consumer.commits == [{(0, 3)}]

    asyncio.run(run())


def raising(error):
    def fails(*_, **__):
        raise error

    return fails


FAULTS = [
    pytest.param(PanicException("called `Option::unwrap()` on a `None` value"), id="panic"),
    pytest.param(pa.ArrowInvalid("no buffer"), id="Arrow"),
    pytest.param(MemoryError(), id="memory"),
]


@pytest.mark.parametrize("error", FAULTS)
def test_a_record_that_makes_its_decoder_fail(monkeypatch, caplog, error):
    """Whatever is raised, the record alone is skipped: told with its place, counted, committed with its neighbours."""

    async def run():
        bench = Bench()
        before = DISCARDED.labels("", "unreadable_record")._value.get()
        bench.take(0, 1, 1)
        with monkeypatch.context() as patched:
            patched.setattr(record, "decode", raising(error))
            bench.take(0, 2, 2)
        bench.take(0, 3, 3, tenant="other")
        await bench.push()
        assert (bench.receiver.calls(), bench.receiver.calls("other")) == ([1], [1])
        assert bench.consumer.commits[-1] == {(0, 4)}
        assert DISCARDED.labels("", "unreadable_record")._value.get() == before + 1
        assert "skipped spans[0]@2" in caplog.text

    asyncio.run(run())


@pytest.mark.parametrize("offset", [pytest.param(1, id="of the past"), pytest.param(2, id="new")])
def test_the_work_may_be_ended(monkeypatch, offset):
    """What ends the work is no fault of a record: it goes on its way."""

    async def run():
        bench = Bench(config=GRAPH)
        bench.consumer.notes[TP("spans", 0)] = (2, f"{NOW_MS} 1 me")
        bench.consumer.times_ms[TP("spans", 0), 1] = NOW_MS
        await bench.generator.resume([TP("spans", 0)])
        monkeypatch.setattr("agents.generator.offsets.decode_record", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            bench.take(0, offset, 1)

    asyncio.run(run())


def changed(name, column):
    """A good record, but for one column; None: without it."""
    spans = DECODER.decode([request([span(2)], service_name="s")]).spans
    columns = dict(zip(spans.schema.names, spans.columns, strict=True))
    columns[name] = column
    return record.encode(pa.RecordBatch.from_pydict({key: one for key, one in columns.items() if one is not None}))[0]


def beyond(*offsets, end=1 << 30):
    """A record in which the last of these offsets points behind the buffer's end, as damaged bytes say it."""
    spans = [span(2 + n, attributes={f"key{key}": "value" for key in range(7 + n)}) for n in range(2)]
    value, _ = record.encode(DECODER.decode([request(spans, service_name="s")]).spans)
    size = record.decoded_bytes(value)
    body = pa.Codec("zstd").decompress(value[4:], size, asbytes=True)
    good = np.array(offsets, "<i4").tobytes()
    assert body.count(good) == 1
    body = body.replace(good, np.array([*offsets[:-1], end], "<i4").tobytes())
    return size.to_bytes(4, "little") + pa.Codec("zstd").compress(body, asbytes=True)


NO_UTF8 = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
NULL_LIST = pa.array([None], DECODER.decode([request([span(2)])]).spans.schema.field("attributes").type)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        pytest.param("kind", pa.array(["server"]), id="kind is text"),
        pytest.param("kind", None, id="no kind"),
        pytest.param("duration_ns", pa.array([1.5]), id="duration is a float"),
        pytest.param("duration_ns", pa.array([None], pa.int64()), id="no duration"),
        pytest.param("trace_id", pa.array([b"x" * 15], pa.binary(15)), id="short trace id"),
        pytest.param("name", pa.array([7]), id="name is a number"),
        pytest.param("name", NO_UTF8, id="name is no UTF-8"),
        pytest.param("resource", pa.array([b"x"]), id="resource is plain"),
        pytest.param("attributes", pa.array([["a"]]), id="attributes are texts"),
        pytest.param("", (0, 7, 15), id="attributes beyond the end"),
        pytest.param("", (65, 70, 75), id="a value beyond the end"),
        pytest.param("attributes", NULL_LIST, id="no attributes"),
        pytest.param("events", pa.array(["a"]), id="events are text"),
        pytest.param("events", pa.array([[1]]), id="events are numbers"),
    ],
)  # fmt: skip
def test_a_record_with_other_columns(name, column, caplog):
    """It is skipped, and costs its neighbours and other tenants nothing, whatever comes together with it."""

    async def run():
        bench = Bench(config=replace(CONFIG, processors=CONFIG.processors | GRAPH.processors))
        bench.take(0, 1, 1)
        bench.take(0, 2, 2, value=changed(name, column) if name else beyond(*column))
        bench.take(0, 3, 3)
        bench.take(1, 1, 4, tenant="other")
        await bench.push()
        assert (bench.receiver.calls(), bench.receiver.calls("other")) == ([2], [1])
        assert bench.consumer.commits[-1] == {(0, 4), (1, 2)}
        assert "partition 0, offset 2" in caplog.text or "skipped spans[0]@2" in caplog.text

    asyncio.run(run())


@pytest.mark.parametrize("error", FAULTS)
def test_a_record_whose_content_cannot_be_read(monkeypatch, caplog, error):
    """Of records that are read together, the bad one alone is lost; the others count once."""

    def size(spans, attributes):
        if (2).to_bytes(8, "big") in spans.column("span_id").to_pylist():
            raise error
        return span_bytes(spans, attributes)

    async def run():
        bench = Bench()
        monkeypatch.setattr("agents.generator.processors.span_metrics.span_bytes", size)
        for offset in (1, 2, 3):
            bench.take(0, offset, offset)
        assert await bench.push() == [2]
        assert bench.consumer.commits == [{(0, 4)}]
        assert "1 spans of partition 0, offset 2, cannot be counted" in caplog.text

    asyncio.run(run())


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("fails", ["flush", "collect"])
def test_a_tenant_that_cannot_be_collected(monkeypatch, error, fails):
    """Others' metrics go on; its own begin anew."""

    async def run():
        bench = Bench()
        bench.take(0, 1, 1, tenant="bad")
        bench.take(0, 2, 2)
        table = bench.generator._tenants["bad"].generator._spans.table
        monkeypatch.setattr(table, "add" if fails == "flush" else "collect", raising(error))
        await bench.push()
        assert (bench.receiver.calls("bad"), bench.receiver.calls()) == ([], [1])
        assert bench.consumer.commits == [{(0, 3)}]
        monkeypatch.undo()
        bench.take(0, 3, 3, tenant="bad")
        await bench.push()
        assert bench.receiver.calls("bad") == [1]

    asyncio.run(run())
