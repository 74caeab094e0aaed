"""A metrics generator's agent with stand-ins for Kafka and for the receivers, which may be away."""

import asyncio
from itertools import pairwise
from math import isnan, nan
from types import SimpleNamespace

from faust.types import TP

from agents.generator.agent import MetricsGenerator
from agents.generator.config import SERVICE_GRAPHS, SPAN_METRICS, GeneratorConfig
from agents.generator.journal.journal_file import JournalFile
from agents.generator.tenants import TenantConfig
from tables.wire import record
from tests.helpers.generator.generated import DECODER, NOW_MS, values
from tests.helpers.generator.remote_write import decoded_series
from tests.helpers.live.whole_way import request, span

CALLS = "traces_spanmetrics_calls_total"
EDGES = "traces_service_graph_request_total"
CONFIG = GeneratorConfig(processors=frozenset({SPAN_METRICS}))
GRAPH = GeneratorConfig(processors=frozenset({SERVICE_GRAPHS}))


class Consumer:
    """Kafka's consumer: committed offsets with their notes, and the times of records."""

    def __init__(self):
        self.commits, self.notes = [], {}
        self.times_ms = {}

    async def commit_through(self, offsets, notes):
        self.commits.append({(tp.partition, offset) for tp, offset in offsets.items()})
        self.notes |= {tp: (offset, notes[tp]) for tp, offset in offsets.items()}
        return True

    async def earliest_offsets(self, *tps):
        return dict.fromkeys(tps, 0)

    async def committed(self, tps):
        return {tp: self.notes[tp] for tp in tps if tp in self.notes}

    async def offsets_at(self, times_ms):
        return {
            tp: min(found)
            for tp, least in times_ms.items()
            if (found := [offset for (at, offset), time in self.times_ms.items() if at == tp and time >= least])
        }


class Receiver:
    """A target that keeps samples as Prometheus does: a request with one that is not the youngest of its series is
    refused as a whole; not strict: it is taken (an out-of-order window). It may be away, for all tenants or some.
    """

    def __init__(self, name="one", pushes_max=3, *, strict=True, version=1):
        self.name, self.pushes_max, self.strict, self.version = name, pushes_max, strict, version
        self.accepts = asyncio.Event()
        self.accepts.set()
        self.away = set()
        self.asked = 0
        self.pushed = []
        self.samples = {}
        self.refused = 0
        self.answers = True  # False: it takes a request, and the answer is lost

    async def send(self, tenant, push):
        self.asked += 1
        for body in list(push.requests(50, self.version, exemplars=True, natives=True)):
            while tenant in self.away or not self.accepts.is_set():
                await asyncio.sleep(0.001)
            self.take(tenant, body)
        while not self.answers:
            await asyncio.sleep(0.001)

    def take(self, tenant, body):
        series = {
            labels: one.samples + [(found.time_ms, nan if isnan(found.sum) else found.count) for found in one.natives]
            for labels, one in decoded_series([body], self.version).items()
        }
        for labels, samples in series.items():
            known = self.samples.get((tenant, labels), {})
            youngest = max(known, default=0)
            if self.strict and any(
                time < youngest or (known.get(time, value) != value == value) for time, value in samples
            ):
                self.refused += 1
                return
        for labels, samples in series.items():
            self.samples.setdefault((tenant, labels), {}).update(samples)
        self.pushed.append((tenant, series))

    def calls(self, tenant="t", name=CALLS):
        """What each push says, added up."""
        return [sum(found.values()) for who, one in self.pushed if who == tenant and (found := values(one, name))]

    def increase(self, name, tenant="t", **wanted):
        """As Prometheus's `increase`, over everything."""
        total = 0.0
        for (who, labels), samples in self.samples.items():
            if who == tenant and {("__name__", name), *wanted.items()} <= labels:
                reply = [value for _, value in sorted(samples.items()) if not isnan(value)]  # without stale markers
                assert reply[0] == 0
                total += sum(b - a if b >= a else b for a, b in pairwise(reply))
        return total


class Configs:
    """All tenants have one configuration, but for those that have their own."""

    def __init__(self, config):
        self.default, self.own = TenantConfig(config, 0.0), {}

    def of(self, tenant):
        return self.own.get(tenant, self.default)

    def longest_wait_s(self):
        return max(one.generator.service_graphs.wait_s for one in (self.default, *self.own.values()))


class Bench:
    """A worker. folder: of its journal; None: without."""

    def __init__(self, queue_bytes_max=1 << 20, config=CONFIG, consumer=None, targets=None, folder=None, instance="me"):
        self.consumer = consumer or Consumer()
        self.app = SimpleNamespace(consumer=self.consumer, consumer_generation_id=1)
        self.targets = targets or [Receiver()]
        self.receiver = self.targets[0]
        self.configs = Configs(config)
        journal = JournalFile(folder) if folder else None
        self.generator = MetricsGenerator(
            self.app, "spans", self.configs, self.targets, instance, journal, queue_bytes_max=queue_bytes_max
        )

    async def start(self, *partitions, cluster_id="kafka"):
        """Restores, and is assigned the partitions. Where it reads on in each."""
        await self.generator.restore(cluster_id)
        positions = await self.generator.resume([TP("spans", number) for number in partitions])
        return {tp.partition: offset for tp, offset in positions.items()}

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
        """All that was counted, to all receivers. What each push of the first receiver has said."""
        await self.generator.push_now(5)
        return self.receiver.calls()

    async def die(self):
        """As kill -9: what is under way comes to no end."""
        self.generator.stop()
        await asyncio.sleep(0)


async def eventually(condition):
    """Waits until it holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def scenario(test):
    """Runs an async test on a loop of its own."""

    def run():
        async def main():
            await test(Bench())

        asyncio.run(main())

    run.__doc__ = test.__doc__
    return run
