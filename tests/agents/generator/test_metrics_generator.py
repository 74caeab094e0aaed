"""The metrics generator's agent: what is pushed, what is committed when, what a rebalance does."""

import asyncio
from dataclasses import replace
from math import isnan

import pytest
from faust.types import TP

from agents.generator.tenants import TenantConfig
from tables.wire import record
from tests.helpers.generator.generated import DECODER, NOW_MS, values
from tests.helpers.generator.generator_bench import (
    CALLS,
    CONFIG,
    EDGES,
    GRAPH,
    Bench,
    Consumer,
    Receiver,
    eventually,
    scenario,
)
from tests.helpers.live.whole_way import request, span


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
