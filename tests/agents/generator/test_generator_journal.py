"""The metrics generator over kill -9: the journal, and what it is not to be used for."""

import asyncio
from dataclasses import replace

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.generator.config import GeneratorConfig, SpanMetricsConfig
from agents.generator.tenants import TenantConfig
from tests.helpers.examples import examples
from tests.helpers.generator.generated import NOW_MS
from tests.helpers.generator.generator_bench import CALLS, CONFIG, EDGES, Bench, Consumer, Receiver, eventually
from tests.helpers.live.whole_way import request, span

BOTH = GeneratorConfig(
    span_metrics=SpanMetricsConfig(enable_target_info=True, dimensions=("d",)), generate_native_histograms="both"
)


def run(test):
    asyncio.run(test)


def test_counters_go_on(tmp_path):
    """No reset, nothing twice, nothing lost, over several restarts; also what was accepted and not committed."""

    async def main():
        consumer, receiver = Consumer(), Receiver()
        for life in range(4):
            bench = Bench(consumer=consumer, targets=[receiver], folder=tmp_path)
            began = (await bench.start(0)).get(0, 0)
            for offset in range(began, 3 * life + 3):
                bench.take(0, offset, offset + 1)
            await bench.generator.collect()
            await eventually(lambda life=life: receiver.increase(CALLS) == 3 * life + 3)
            bench.take(0, 3 * life + 3, 100)  # counted, and not collected
            await bench.die()
        assert consumer.commits == []
        reply = [samples for (_, labels), samples in receiver.samples.items() if ("__name__", CALLS) in labels]
        assert [[value for _, value in sorted(one.items())] for one in reply] == [[0, 3, 6, 9, 12]]

    run(main())


def test_a_target_that_was_away(tmp_path):
    """After a crash it gets what it has not got: the beginning of each series, and the end of those that have ended."""

    async def main():
        consumer, there, away = Consumer(), Receiver("there"), Receiver("away", pushes_max=2)
        away.accepts.clear()
        config = replace(CONFIG, stale_duration_s=0.0005)  # a series ends with the first push without it
        bench = Bench(config=config, consumer=consumer, targets=[there, away], folder=tmp_path)
        await bench.start(0)
        for offset, service in enumerate("abcabdeeef"):
            bench.take(0, offset, sent=[request([span(offset + 1)], service_name=service)])
            await bench.generator.collect()
            await eventually(lambda offset=offset: there.increase(CALLS) == offset + 1)
        await bench.die()
        away.accepts.set()
        bench = Bench(config=config, consumer=consumer, targets=[there, away], folder=tmp_path)
        await bench.start(0)
        bench.take(0, 10, sent=[request([span(10)], service_name="a")])
        await bench.push()
        for service, count in {"a": 3, "b": 2, "c": 1, "d": 1, "e": 3, "f": 1}.items():
            assert [one.increase(CALLS, service=service) for one in (there, away)] == [count, count]

    run(main())


def test_what_is_done_is_not_said_again(tmp_path):
    """After a restart only pushes that are not committed are sent once more; a second one still goes on."""

    async def main():
        consumer, receiver = Consumer(), Receiver()
        for life in range(3):
            bench = Bench(consumer=consumer, targets=[receiver], folder=tmp_path)
            await bench.start(0)
            if life == 0:
                bench.take(0, 0, 1)
                await bench.push()
            generator = bench.generator
            await eventually(lambda one=generator: one._done_through() == one._number)
            await generator._commit()
            await bench.die()
        assert receiver.asked == 1
        await bench.start(0)
        bench.take(0, 1, 2)
        assert await bench.push() == [1, 2]

    run(main())


@pytest.mark.parametrize(
    ("what", "begins", "total"),
    [
        pytest.param("nothing", 2, 4, id="as it was"),
        pytest.param("corrupt", 1, 5, id="corrupt file: from the commit; what was not committed counts again"),
        pytest.param("lost", 1, 5, id="no file"),
        pytest.param("cluster_id", 1, 5, id="another Kafka"),
        pytest.param("another", 1, 5, id="another worker has committed"),
        pytest.param("older", 3, 3, id="older than what was committed"),
        pytest.param("settings", 2, 4, id="other settings: begun anew behind what was told"),
    ],
)
def test_what_holds(tmp_path, what, begins, total):
    """Two records were told, one of them committed; then the worker dies. Where the next begins, and what it says."""

    async def main():
        consumer, receiver, tp = Consumer(), Receiver(), TP("spans", 0)
        bench = Bench(consumer=consumer, targets=[receiver], folder=tmp_path)
        await bench.start(0)
        bench.take(0, 0, 1)
        await bench.push()
        bench.take(0, 1, 2)
        await bench.generator.collect()
        await eventually(lambda: receiver.increase(CALLS) == 2)
        await bench.die()
        bench = Bench(consumer=consumer, targets=[receiver], folder=tmp_path)
        journal = tmp_path / "journal"
        match what:
            case "corrupt":
                data = bytearray(journal.read_bytes())
                data[len(data) // 2] ^= 1
                journal.write_bytes(data)
            case "lost":
                journal.unlink()
            case "another":
                consumer.notes[tp] = (1, f"{NOW_MS} 9 another")
            case "older":
                consumer.notes[tp] = (3, f"{NOW_MS} 9 me")
            case "settings":
                bench.configs.default = TenantConfig(replace(CONFIG, external_labels=(("x", "y"),)), 0.0)
        consumer.times_ms.clear()  # no halves to recall
        positions = await bench.start(0, cluster_id="other" if what == "cluster_id" else "kafka")
        assert positions == {0: begins}
        for offset in range(begins, 4):
            bench.take(0, offset, offset + 1)
        await bench.push()
        assert receiver.increase(CALLS) == total

    run(main())


class World:
    """Topics, two receivers, and a worker that is killed again and again."""

    def __init__(self, folder):
        self.folder, self.consumer = folder, Consumer()
        self.receivers = [Receiver("strict", pushes_max=2), Receiver("lenient", pushes_max=1, strict=False, version=2)]
        self.log = {0: [], 1: []}  # by partition: tenant and request of each record
        self.config = BOTH
        self.halves, self.switched = [], False

    async def start(self, partitions=(0, 1)):
        """A new process."""
        self.bench = Bench(config=self.config, consumer=self.consumer, targets=self.receivers, folder=self.folder)
        self.commits = asyncio.create_task(self.bench.generator.commit_forever())
        self.mine = set(partitions)
        self.read(await self.bench.start(*partitions))

    def read(self, positions):
        """Everything from there on; without a place from what is committed."""
        for number in self.mine:
            committed, _ = self.consumer.notes.get(TP("spans", number), (0, ""))
            for offset in range(positions.get(number, committed), len(self.log[number])):
                self.deliver(number, offset)

    def deliver(self, partition, offset):
        tenant, sent = self.log[partition][offset]
        self.bench.take(partition, offset, tenant=tenant, sent=[sent])

    async def do(self, op, number):
        partition, receiver = number % 2, self.receivers[number % 2]
        match op:
            case "call" | "server" if (op, number) not in self.halves:
                ids = {"parent_span_id": (2 * number + 2).to_bytes(8, "big")} if op == "server" else {}
                one = span(2 * number + 2 + (op == "server"), kind=2 if op == "server" else 3, **ids)
                self.log[partition].append((f"t{number % 3}", request([one], service_name=f"{op}{number % 5}")))
                self.halves.append((op, number))
                if partition in self.mine:
                    self.deliver(partition, len(self.log[partition]) - 1)
            case "collect":
                await self.bench.generator.collect()
            case "wait":
                await asyncio.sleep(0.003)
            case "away":
                receiver.accepts.clear()
            case "back":
                receiver.accepts.set()
                receiver.answers = True
            case "lose answers":
                receiver.answers = False
            case "kill":
                await self.kill()
                await self.start()
            case "lose partition":
                self.mine -= {partition}
                await self.bench.generator.resume([TP("spans", one) for one in self.mine])
            case "gain partitions":
                new = {0, 1} - self.mine
                self.mine = {0, 1}
                positions = await self.bench.generator.resume([TP("spans", one) for one in self.mine])
                self.mine = new
                self.read({tp.partition: offset for tp, offset in positions.items()})
                self.mine = {0, 1}
            case "switch":
                self.switched = True
                self.config = replace(self.config, external_labels=(("x", str(number)),))
                self.bench.configs.default = TenantConfig(self.config, 0.0)

    async def kill(self):
        self.commits.cancel()
        await self.bench.die()

    async def end(self):
        """Everybody is there, and everything is told."""
        for receiver in self.receivers:
            receiver.accepts.set()
            receiver.answers = True
        await self.do("gain partitions", 0)
        await self.bench.push()
        await self.kill()


OPS = [
    "call",
    "server",
    "call",
    "server",
    "collect",
    "collect",
    "wait",
    "away",
    "back",
    "lose answers",
    "kill",
    "switch",
]
OPS += ["lose partition", "gain partitions"]


@settings(max_examples=examples(15), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 23)), min_size=10, max_size=80))
def test_exact_whatever_happens(tmp_path_factory, ops):
    """After any kills, lost answers, receivers that are away and rebalances, every receiver has every span once."""
    world = World(tmp_path_factory.mktemp("journal"))

    async def main():
        await world.start()
        for op, number in ops:
            await world.do(op, number)
        await world.end()

    run(main())
    sent = [tenant for records in world.log.values() for tenant, _ in records]
    for receiver in world.receivers:
        for tenant in ("t0", "t1", "t2"):
            assert receiver.increase(CALLS, tenant) == sent.count(tenant)
            assert receiver.increase("traces_spanmetrics_latency_count", tenant) == sent.count(tenant)
            assert receiver.increase("traces_spanmetrics_latency", tenant) == sent.count(tenant)
            both = {n for op, n in world.halves if op == "call"} & {n for op, n in world.halves if op == "server"}
            # Halves that wait while the settings change are not carried over.
            edges = receiver.increase(EDGES, tenant)
            assert edges == sum(f"t{n % 3}" == tenant for n in both) or world.switched


def test_two_workers(tmp_path):
    """A partition that moves and comes back counts once: each begins where the other has committed, journal or not."""

    async def main():
        consumer, receiver = Consumer(), Receiver()

        def worker(name):
            config = replace(CONFIG, external_labels=(("instance", name),))
            return Bench(config=config, consumer=consumer, targets=[receiver], folder=tmp_path / name, instance=name)

        one, other = worker("one"), worker("other")
        await one.start(0)
        await other.start()
        tp, offset, owner = TP("spans", 0), 0, one
        for step in range(6):
            for _ in range(3):
                owner.take(0, offset, offset + 1)
                offset += 1
            if step == 3:  # killed behind a commit, and started again when another has it
                await owner.push()
                await owner.die()
                owner = worker(owner.generator.instance)
                await owner.start()
            else:
                await owner.generator.revoked([tp])
                await owner.generator.resume([])
            if owner.generator.instance == "one":
                one, owner = owner, other
            else:
                other, owner = owner, one
            consumer.times_ms.clear()  # no halves to recall
            assert await owner.generator.resume([tp]) == {tp: offset}
        await owner.push()
        assert receiver.increase(CALLS) == offset

    run(main())
