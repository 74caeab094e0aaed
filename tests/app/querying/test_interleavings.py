"""Whatever is flushed, merged, moved, or not known yet: an answer has each span once, or it is an error that says so.

Real live stores over one storage, a frontend over gRPC, members whose heartbeats may be old. Steps in random order; a
query runs while the next step happens.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.errors import Unavailable
from app.querying.frontend import Frontend
from query.requests import InstantRequest, SearchRequest, TraceRequest
from query.scan.progress import QueryObserver
from tests.helpers.blocks.fragile_compactor import Compactor
from tests.helpers.examples import examples
from tests.helpers.querying.processes import MS, ProcessGroup, Sent, cluster, with_queriers

NAMES = ("a", "b")
PARTITION = st.integers(0, 1)
NAME = st.sampled_from(NAMES)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 7)),
        st.tuples(st.just("read"), NAME),
        st.tuples(st.just("flush"), NAME),
        st.tuples(st.just("move"), PARTITION, NAME),
        st.tuples(st.just("lose"), PARTITION),
        st.tuples(st.just("heartbeats")),
        st.tuples(st.just("poll")),
        st.tuples(st.just("poll live stores"), NAME),
        st.tuples(st.just("merge"), st.lists(st.integers(0, 3), min_size=1, max_size=3)),
        st.tuples(st.just("trim"), NAME),
    ),
    min_size=6,
    max_size=22,
)


class Steps:
    """Does them. sent: by trace, the spans; owner: of each partition; None: nobody has it"""

    def __init__(self, group: ProcessGroup, storage: Any) -> None:
        self.group, self.compactor = group, Compactor(storage, "cluster_id")
        self.owner: dict[int, str | None] = {0: "a", 1: "b"}
        self.sent: Counter[int] = Counter()
        self.read_until = {0: 0, 1: 0}  # by whoever had the partition: from then on its spans are to be found
        self.seconds, self.number = 100.0, 0

    async def do(self, name: str, *arguments: Any) -> None:
        await getattr(self, name.replace(" ", "_"))(*arguments)

    async def send(self, traces: Sequence[int], seconds: int) -> None:
        self.seconds += seconds
        spans = []
        for trace in traces:
            self.number += 1
            spans.append(Sent(trace, self.number, 1000 * trace + self.number))
        self.group.log.append(spans, seconds=self.seconds)
        self.sent.update(traces)

    async def read(self, name: str) -> None:
        process = self.group.processes[name]
        await process.read_all()
        self.read_until |= {number: self.group.log.end(number) for number in process.owned}

    async def flush(self, name: str) -> None:
        await self.group.processes[name].flush()

    async def move(self, partition: int, name: str) -> None:
        """Whoever had it gives it up first, as Kafka sees to it."""
        await self.lose(partition)
        process = self.group.processes[name]
        await process.own({*process.owned, partition})
        self.owner[partition] = name

    async def lose(self, partition: int) -> None:
        before = self.owner[partition]
        if before is not None:
            process = self.group.processes[before]
            await process.own(process.owned - {partition})
        self.owner[partition] = None

    async def heartbeats(self) -> None:
        self.group.announce()

    async def poll(self) -> None:
        self.group.blocks.poll(range(2))

    async def poll_live_stores(self, name: str) -> None:
        self.group.processes[name].world.store.blocks.poll(range(2))

    async def merge(self, picks: Sequence[int]) -> None:
        self.compactor.blocks.poll(range(2))
        self.compactor.fold("t")
        self.compactor.blocks.poll(range(2))
        index = self.compactor.blocks.index("t")
        rows = [] if index is None else index.metas()
        # As compactors do it: blocks of one partition.
        same = (
            [n % len(rows) for n in picks if rows[n % len(rows)].place == rows[picks[0] % len(rows)].place]
            if rows
            else []
        )
        self.compactor.merge("t", same)

    async def trim(self, name: str) -> None:
        """Flushed segments go at once: readers that do not know the blocks must look for them."""
        await self.group.processes[name].world.flusher.trim()


async def ask(frontend: Frontend, before: Counter[int]) -> Counter[int] | None:
    """Spans by trace, as counts and searches have them; None: refused. before: what there is at least"""
    try:
        request = InstantRequest(query="{ } | count_over_time() by (trace:id)", start_ns=0, end_ns=10**9 * MS)
        counted = await frontend.metrics_instant("t", request, QueryObserver())
        search = SearchRequest(query="{ }", limit=100, spans_per_span_set=0)
        found = await frontend.search("t", search, QueryObserver())
    except Unavailable:
        return None
    by_trace = {Sent(trace, 0, 0).trace_id: trace for trace in range(1, 7)}
    searched = Counter({by_trace[one.trace_id]: sum(s.matched for s in one.span_sets) for one in found.traces})
    total = sum(value for series in counted.series for _, value in series.samples)
    assert before.total() <= total <= searched.total()  # which was asked later
    assert [one.start_ns for one in found.traces] == sorted((one.start_ns for one in found.traces), reverse=True)
    return searched


async def check_traces(frontend: Frontend, sent: Counter[int]) -> None:
    for trace in range(1, 7):
        answer = await frontend.trace("t", TraceRequest(trace_id=Sent(trace, 0, 0).trace_id))
        rows = 0 if answer.table is None else answer.table.num_rows
        assert rows == sent[trace] if answer.complete else rows <= sent[trace]


async def run(folder: Path, steps: Sequence[tuple[Any, ...]]) -> int:
    """Out: how many queries were answered."""
    answered = 0
    async with (
        cluster(folder, NAMES, retention_s=0.0, wait_s=0.0) as group,
        with_queriers(group, ["q1"]) as front,
    ):
        world = Steps(group, group.blocks.store.config)
        await world.move(0, "a")
        await world.move(1, "b")
        group.announce()
        own = group.frontend_in("a")
        for number, step in enumerate(steps):
            frontend = (group.frontend, front.frontend, own)[number % 3]
            before = group.log.spans_below(world.read_until)
            asking = asyncio.ensure_future(ask(frontend, before))
            await asyncio.sleep(0)
            await world.do(*step)
            found = await asking
            if found is not None:
                answered += 1
                # Those that a live store had not read before may be there or not.
                assert before <= found <= world.sent, step
        # In the end all is there.
        for partition in (0, 1):
            await world.move(partition, "b")
        await world.read("b")
        group.announce()
        for frontend in (group.frontend, front.frontend, own):
            assert await ask(frontend, world.sent) == world.sent
            await check_traces(frontend, world.sent)
    return answered


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_each_span_once_or_an_error(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), steps))


def test_a_usual_day() -> None:
    """Nothing is lost or moved: then every query is answered."""
    day: list[tuple[Any, ...]] = []
    for _ in range(3):
        day += [("send", [1, 2, 3, 4, 5, 6], 3), ("read", "a"), ("read", "b"), ("heartbeats",), ("send", [1, 2], 4)]
        day += [("read", "a"), ("read", "b"), ("flush", "a"), ("flush", "b"), ("trim", "a"), ("merge", [0, 1, 2])]
    with TemporaryDirectory() as folder:
        assert asyncio.run(run(Path(folder), day)) >= len(day) - 12
