"""The metrics generator's agent: what is pushed, what is committed when, what a rebalance does."""

import asyncio
from types import SimpleNamespace

import pyarrow as pa
import pytest
from faust.types import TP

from agents.metrics_generator import MetricsGenerator
from tables.generator.config import SERVICE_GRAPHS, SPAN_METRICS, GeneratorConfig
from tables.wire import record
from tests.helpers.generated import DECODER, NOW_MS, decoded, values
from tests.helpers.whole_way import request, span

CALLS = "traces_spanmetrics_calls_total"
CONFIG = GeneratorConfig(processors=frozenset({SPAN_METRICS}))
GRAPH = GeneratorConfig(processors=frozenset({SERVICE_GRAPHS}))
SNAPPY = pa.Codec("snappy")


class Consumer:
    def __init__(self):
        self.commits, self.notes = [], {}
        self.times_ms = {}  # of the records in the topic

    async def commit_through(self, offsets, notes):
        self.commits.append({(tp.partition, offset) for tp, offset in offsets.items()})
        self.notes |= {tp: (offset, notes[tp]) for tp, offset in offsets.items()}
        return True

    async def committed(self, tps):
        return {tp: self.notes[tp] for tp in tps if tp in self.notes}

    async def offsets_at(self, times_ms):
        return {
            tp: min(found)
            for tp, least in times_ms.items()
            if (found := [offset for (at, offset), time in self.times_ms.items() if at == tp and time >= least])
        }


class Bench:
    """A generator with a stand-in for Kafka and for the receiver, which may be away."""

    def __init__(self, queue_bytes_max=1 << 20, config=CONFIG, consumer=None):
        self.consumer = consumer or Consumer()
        self.app = SimpleNamespace(consumer=self.consumer, consumer_generation_id=1)
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.pushed = []
        self.generator = MetricsGenerator(self.app, "spans", config, self.send, queue_bytes_max)

    async def send(self, tenant, bodies):
        await self.accepts.wait()
        raw = [SNAPPY.decompress(body, size_of(body)).to_pybytes() for body in bodies]
        self.pushed.append((tenant, decoded(raw)))

    def take(self, partition, offset, *numbers, tenant="t", generation=1, time_ms=NOW_MS, sent=None, **changes):
        """A record of spans of these numbers, or of the requests in `sent`."""
        spans = DECODER.decode(sent or [request([span(n) for n in numbers], service_name="s")]).spans
        value, headers = record.encode(spans)
        fields = {"key": tenant.encode(), "value": value, "headers": headers} | changes
        tp = TP("spans", partition)
        self.consumer.times_ms[tp, offset] = time_ms
        message = SimpleNamespace(topic="spans", partition=partition, tp=tp, offset=offset, generation_id=generation)
        self.generator.take(SimpleNamespace(**vars(message), timestamp=time_ms / 1000, **fields))

    async def push(self):
        await self.generator.collect()
        await self.generator.send_queued()
        return self.calls()

    def calls(self):
        return [sum(values(pushed, CALLS).values()) for _, pushed in self.pushed]


def size_of(body):
    number = shift = at = 0
    while True:
        number |= (body[at] & 127) << shift
        if body[at] < 128:
            return number
        at, shift = at + 1, shift + 7


def scenario(test):
    """Runs an async test on a loop of its own."""

    def run():
        asyncio.run(test(Bench()))

    run.__doc__ = test.__doc__
    return run


@scenario
async def test_a_commit_follows_the_push(bench):
    """Offsets are committed when the push that holds them was accepted, not before, and no further."""
    bench.take(0, 7, 1, 2)
    bench.take(1, 3, 3)
    bench.accepts.clear()
    await bench.generator.collect()
    sending = asyncio.create_task(bench.generator.send_queued())
    await asyncio.sleep(0)
    bench.take(0, 8, 4)
    assert bench.consumer.commits == []
    bench.accepts.set()
    await sending
    assert bench.consumer.commits == [{(0, 8), (1, 4)}]
    assert bench.calls() == [3]
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
    """It begins where Kafka says; a push of the time before does not commit over what was read since."""
    bench.take(0, 1, 1)
    await bench.generator.collect()
    await bench.generator.resume([])
    await bench.generator.resume([TP("spans", 0)])
    bench.take(0, 1, 1)
    await bench.generator.send_queued()
    assert bench.consumer.commits == []
    await bench.push()
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
    return values(bench.pushed[-1][1], "traces_service_graph_request_total")


@scenario
async def test_a_rebalance_while_the_past_is_read(bench):
    """It goes on where it was; a gap ends it."""
    tp, consumer = TP("spans", 0), Consumer()
    consumer.notes[tp] = (9, str(NOW_MS))
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
    assert (bench.calls(), bench.consumer.commits) == ([1], [{(0, 2)}])


@scenario
async def test_a_receiver_that_is_away_at_the_end(bench):
    """The last push is given up in time, uncommitted."""
    bench.take(0, 1, 1)
    bench.accepts.clear()
    await bench.generator.push_now(within_s=0.05)
    assert bench.consumer.commits == []
    bench.accepts.set()
    await bench.generator.send_queued()
    assert (bench.calls(), bench.consumer.commits) == ([1], [{(0, 2)}])


@scenario
async def test_a_full_queue(bench):
    """While the receiver is away no more is collected than the queue holds; later all is there."""
    bench = Bench(queue_bytes_max=1)
    bench.take(0, 1, 1)
    await bench.generator.collect()
    bench.take(0, 2, 2)
    await bench.generator.collect()
    bench.take(0, 3, 3)
    await bench.generator.send_queued()
    assert await bench.push() == [1, 3]
    assert bench.consumer.commits == [{(0, 2)}, {(0, 4)}]


@scenario
async def test_tenants_apart(bench):
    """Each tenant's series go in pushes of their own; a shared record is every tenant's."""
    bench.take(0, 1, 1, tenant="a")
    spans = DECODER.decode([request([span(n) for n in (1, 2, 3)], service_name="s")]).spans
    value, headers = record.encode(spans, [("a", 1), ("b", 2)])
    bench.take(0, 2, value=value, headers=headers, key=b"")
    await bench.push()
    assert {tenant: sum(values(pushed, CALLS).values()) for tenant, pushed in bench.pushed} == {"a": 2, "b": 2}


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
