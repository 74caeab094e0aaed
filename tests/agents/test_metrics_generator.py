"""The metrics generator's agent: what is pushed, what is committed when, what a rebalance does."""

import asyncio
from dataclasses import replace
from math import isnan

import numpy as np
import pyarrow as pa
import pytest
from faust.types import TP

from agents.generator.own_metrics import DISCARDED
from agents.generator.processors.size import span_bytes
from agents.generator.tenants import TenantConfig
from tables.wire import record
from tests.helpers.generated import DECODER, NOW_MS, values
from tests.helpers.generator_bench import CALLS, CONFIG, EDGES, GRAPH, Bench, Consumer, Receiver, eventually, scenario
from tests.helpers.whole_way import request, span


@scenario
async def test_a_commit_follows_the_push(bench):
    """Offsets are committed when the push that holds them was accepted, not before, and no further."""
    bench.take(0, 7, 1, 2)
    bench.take(1, 3, 3)
    bench.receiver.accepts.clear()
    pushing = asyncio.create_task(bench.generator.push_now(5))
    await eventually(lambda: bench.receiver.asked)
    bench.take(0, 8, 4)
    assert bench.consumer.commits == []
    bench.receiver.accepts.set()
    await pushing
    assert bench.consumer.commits == [{(0, 8), (1, 4)}]
    assert bench.receiver.calls() == [3]
    assert await bench.push() == [3, 4]
    assert bench.consumer.commits[-1] == {(0, 9), (1, 4)}


@scenario
async def test_a_record_counts_once(bench):
    """What is delivered again, or belongs to an assignment that is over, is not counted."""
    bench.take(0, 1, 1)
    bench.take(0, 1, 1)
    bench.take(0, 2, 2, generation=0)
    bench.take(0, 2, 2)
    assert await bench.push() == [2]


@scenario
async def test_a_rebalance(bench):
    """A partition that stays is read on; of one that goes, what was not pushed is another's to count."""
    bench.take(0, 1, 1)
    bench.take(1, 5, 2)
    await bench.push()
    bench.take(0, 2, 3)
    bench.take(1, 6, 4, 5)
    assert await bench.generator.resume([TP("spans", 0)]) == {TP("spans", 0): 3}
    assert await bench.push() == [2, 3]
    assert bench.consumer.commits[-1] == {(0, 3)}


@scenario
async def test_a_partition_that_comes_back(bench):
    """It goes on behind what is in pushes, if nobody else had it meanwhile."""
    tp = TP("spans", 0)
    bench.take(0, 1, 1)
    await bench.push()
    bench.receiver.accepts.clear()
    bench.take(0, 2, 2)
    await bench.generator.collect()
    bench.take(0, 3, 3)
    await bench.generator.resume([])
    assert await bench.generator.resume([tp]) == {tp: 1}  # for halves of edges
    for offset in (1, 2, 3):
        bench.take(0, offset, offset)
    bench.receiver.accepts.set()
    assert (await bench.push())[-1] == 3
    assert bench.consumer.commits[-1] == {(0, 4)}


@scenario
async def test_a_partition_that_another_had(bench):
    """It begins where that one has committed; a push of the time before does not commit over it."""
    tp = TP("spans", 0)
    bench.take(0, 1, 1)
    bench.receiver.accepts.clear()
    await bench.generator.collect()
    await bench.generator.resume([])
    bench.consumer.notes[tp] = (1, f"{NOW_MS} 7 another")
    assert await bench.generator.resume([tp]) == {tp: 1}
    bench.take(0, 1, 1)
    bench.receiver.accepts.set()
    await eventually(lambda: bench.receiver.pushed)
    assert bench.consumer.commits == []
    assert await bench.push() == [1, 2]
    assert bench.consumer.commits == [{(0, 2)}]


@scenario
async def test_edges_over_a_crash(before):
    """Halves that waited at the last commit are read again; what was counted then is not counted again."""

    def half(service, number, kind, parent=0):
        ids = {"parent_span_id": parent.to_bytes(8, "big")} if parent else {}
        return request([span(number, kind=kind, **ids)], service_name=service)

    tp = TP("spans", 0)
    records = [
        (0, NOW_MS - 30_000, [half("a", 1, 3)]),  # has waited too long
        (1, NOW_MS - 5_000, [half("a", 3, 3), half("user", 5, 2), half("a", 7, 3)]),
        (2, NOW_MS - 4_000, [half("b", 4, 2, 3), half("b", 10, 2, 9)]),
    ]
    after = (3, NOW_MS, [half("b", 2, 2, 1), half("b", 8, 2, 7), half("a", 9, 3), half("b", 14, 2, 3)])
    before = Bench(config=GRAPH)
    assert await before.generator.resume([tp]) == {}
    for offset, time_ms, sent in records:
        before.take(0, offset, time_ms=time_ms, sent=sent)
    await before.push()
    assert edges(before) == {("a", "b"): 1, ("user", "virtual_node", "user"): 1}
    before.take(0, after[0], time_ms=after[1], sent=after[2])  # lost in the crash

    crashed = Bench(config=GRAPH, consumer=before.consumer)
    assert await crashed.generator.resume([tp]) == {tp: 1}
    for offset, time_ms, sent in [*records[1:], after]:
        crashed.take(0, offset, time_ms=time_ms, sent=sent)
    await crashed.push()
    # 7-8 and 9-10, of which one half is from before, and a second server of 3.
    assert edges(crashed) == {("a", "b"): 3}
    assert crashed.consumer.commits[-1] == {(0, 4)}


def edges(bench):
    return values(bench.receiver.pushed[-1][1], EDGES)


@scenario
async def test_a_rebalance_while_the_past_is_read(bench):
    """It goes on where it was; a gap ends it."""
    tp, consumer = TP("spans", 0), Consumer()
    consumer.notes[tp] = (9, f"{NOW_MS} 1 me")
    consumer.times_ms = {(tp, offset): NOW_MS for offset in range(5, 9)}
    bench = Bench(config=GRAPH, consumer=consumer)
    assert await bench.generator.resume([tp]) == {tp: 5}
    bench.take(0, 5, 1)
    assert await bench.generator.resume([tp]) == {tp: 6}
    await bench.push()
    assert consumer.commits == [{(0, 9)}]
    bench.take(0, 12, 1)
    assert await bench.generator.resume([tp]) == {tp: 13}


@scenario
async def test_revocation_pushes(bench):
    """Before partitions go, what was counted of them is pushed and committed."""
    bench.take(0, 1, 1)
    await bench.generator.revoked([TP("spans", 0)])
    assert (bench.receiver.calls(), bench.consumer.commits) == ([1], [{(0, 2)}])


@scenario
async def test_a_receiver_that_is_away_at_the_end(bench):
    """The last push is given up in time, uncommitted."""
    bench.take(0, 1, 1)
    bench.receiver.accepts.clear()
    await bench.generator.push_now(within_s=0.05)
    assert bench.consumer.commits == []
    bench.receiver.accepts.set()
    assert await bench.push() == [1, 1]
    assert bench.consumer.commits[-1] == {(0, 2)}


@pytest.mark.parametrize("limits", [{"queue_bytes_max": 1}, {"targets": True}], ids=["bytes", "pushes"])
def test_a_full_queue(limits):
    """While the receiver is away, pushes that wait become one; later all is there."""

    async def run():
        targets = [Receiver(pushes_max=1)] if "targets" in limits else None
        bench = Bench(queue_bytes_max=limits.get("queue_bytes_max", 1 << 20), targets=targets)
        bench.receiver.accepts.clear()
        for offset in (1, 2, 3, 4):
            bench.take(0, offset, offset)
            await bench.generator.collect()
        assert bench.receiver.asked == 1
        bench.receiver.accepts.set()
        assert await bench.push() in ([1, 4, 4], [1, 4])
        assert bench.receiver.increase(CALLS) == 4
        assert bench.consumer.commits[-1] == {(0, 5)}

    asyncio.run(run())


@scenario
async def test_one_that_is_away_holds_up_no_other(bench):
    """Neither a target the others, nor a tenant the others; but nothing is committed that one of them has not got."""
    there, away = Receiver("there"), Receiver("away")
    bench = Bench(targets=[there, away])
    away.accepts.clear()
    there.away.add("limited")
    bench.take(0, 1, 1)
    bench.take(0, 2, 2, tenant="limited")
    committing = asyncio.create_task(bench.generator.commit_forever())
    await bench.generator.collect()
    await eventually(lambda: there.calls() == [1])
    away.accepts.set()
    await eventually(lambda: away.calls() == [1] and away.calls("limited") == [1])
    assert bench.consumer.commits == []
    there.away.clear()
    await eventually(lambda: bench.consumer.commits == [{(0, 3)}])
    committing.cancel()


@scenario
async def test_intervals_of_their_own(bench):
    """A tenant whose interval is longer is pushed less often; what waits for it is not committed."""
    bench.configs.own["slow"] = TenantConfig(CONFIG, 3600)
    bench.take(0, 1, 1, tenant="slow")
    await bench.push()
    for offset in (2, 3):
        bench.take(0, offset, offset, tenant="slow")
        bench.take(1, offset, offset)
        await bench.generator.collect()
    await eventually(lambda: bench.receiver.calls() == [1, 2])
    assert bench.receiver.calls("slow") == [1]
    assert bench.consumer.commits == [{(0, 2)}]
    await bench.push()
    assert bench.receiver.calls("slow") == [1, 3]
    assert bench.receiver.increase(CALLS, "slow") == 3


@pytest.mark.parametrize(
    ("config", "series"),
    [
        pytest.param(replace(CONFIG, max_active_series=1000), 1, id="a limit: series go on"),
        pytest.param(replace(CONFIG, external_labels=(("a", "b"),)), 2, id="another label: series end, others begin"),
        pytest.param(replace(CONFIG, processors=frozenset()), 1, id="switched off: series end"),
    ],
)
def test_another_configuration(config, series):
    """What was counted before is told; after it everything counts once, as the new configuration says."""

    async def run():
        bench = Bench()
        bench.take(0, 1, 1, 2)
        await bench.push()
        bench.take(0, 2, 3)
        bench.configs.default = TenantConfig(config, 0.0)
        await bench.push()
        assert bench.receiver.increase(CALLS) == 3
        bench.take(0, 3, 4)
        await bench.push()
        assert bench.receiver.increase(CALLS) == (4 if config.processors else 3)
        calls = [samples for (_, labels), samples in bench.receiver.samples.items() if ("__name__", CALLS) in labels]
        assert len(calls) == series
        ended = sum(isnan(list(samples.values())[-1]) for samples in calls)
        assert ended == (config.max_active_series == 0)

    asyncio.run(run())


@scenario
async def test_tenants_apart(bench):
    """Each tenant's series go in pushes of their own; a shared record is every tenant's."""
    bench.take(0, 1, 1, tenant="a")
    spans = DECODER.decode([request([span(n) for n in (1, 2, 3)], service_name="s")]).spans
    value, headers = record.encode(spans, [("a", 1), ("b", 2)])
    bench.take(0, 2, value=value, headers=headers, key=b"")
    await bench.push()
    assert {tenant: bench.receiver.calls(tenant) for tenant in "ab"} == {"a": [2], "b": [2]}


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


class Panic(BaseException):
    """As pyo3's: no Exception."""


def raising(error):
    def fails(*_, **__):
        raise error

    return fails


FAULTS = [
    pytest.param(Panic("called `Option::unwrap()` on a `None` value"), id="panic"),
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
        monkeypatch.setattr("agents.generator.offsets.record.decode", raising(KeyboardInterrupt()))
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

    def size(batch):
        if 2 in batch.words("span_id").byteswap():
            raise error
        return span_bytes(batch)

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


@scenario
async def test_a_processor_that_stays(bench):
    """Switching the other one off and on changes nothing for it, not even for halves of edges that wait."""

    def half(service, number, kind, parent=0):
        ids = {"parent_span_id": parent.to_bytes(8, "big")} if parent else {}
        return [request([span(number, kind=kind, **ids)], service_name=service)]

    both = replace(CONFIG, processors=CONFIG.processors | GRAPH.processors)
    bench = Bench(config=both)
    for offset, config in enumerate((GRAPH, both, GRAPH)):
        bench.take(0, 2 * offset, sent=half("a", 10 * offset + 1, 3))
        await bench.push()
        bench.configs.default = TenantConfig(config, 0.0)
        await bench.push()
        bench.take(0, 2 * offset + 1, sent=half("b", 10 * offset + 2, 2, 10 * offset + 1))
        await bench.push()
    edges = [samples for (_, labels), samples in bench.receiver.samples.items() if ("__name__", EDGES) in labels]
    assert [[value for _, value in sorted(one.items())][-4:] for one in edges] == [[2, 2, 2, 3]]
    assert bench.receiver.increase(CALLS) == 3  # of the first and third client, and the second server
    assert bench.receiver.refused == 0
