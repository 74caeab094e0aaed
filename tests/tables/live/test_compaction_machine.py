"""As test_live_machine.py, while compactors work on the bucket: fold cuts into indexes, merge blocks, remove old ones,
write checkpoints, delete what is not needed any more. They die between any two writes, come second, and know what was
true some time ago; so do readers.
"""

from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tables.catalog.block_list import BlockList
from tables.catalog.index_store import IndexStore
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import with_checksum
from tests.helpers.blocks.fragile_compactor import Compactor, DiedError
from tests.helpers.examples import examples
from tests.helpers.live.live_machine import TENANTS, LiveMachine, Worker

TENANT = st.sampled_from(TENANTS)
PICKS = st.lists(st.integers(0, 5), min_size=2, max_size=4, unique=True)
WHO = st.integers(0, 1)
# Most of the time a compactor lives on.
DIES_AFTER = st.one_of(st.none(), st.none(), st.integers(0, 8))
ACTIONS = st.one_of(
    st.tuples(st.just("fold"), TENANT),
    st.tuples(st.just("merge"), TENANT, PICKS),
    st.tuples(st.just("merge"), TENANT, st.just([0, 1, 2, 3])),
    st.tuples(st.just("remove"), TENANT, st.integers(0, 5)),
    st.tuples(st.just("checkpoint")),
)
Spans = set[tuple[str, bytes]]


class CompactionMachine(LiveMachine):
    """Two compactors, a worker that polls now and then, and another reader that sees blocks only."""

    @initialize()
    def start(self) -> None:
        self.clock = self.steps = 0
        self.removed: Spans = set()
        super().start()
        for _ in range(4):
            self._flush_some([list(TENANTS), ["a"]])
        self.compactors = [self._compactor(), self._compactor()]
        self.reader = BlockList(self.storage, "reader", ByteCache("reader", 1 << 20))
        self.reader_polls()

    def _compactor(self) -> Compactor:
        return Compactor(self.storage.config, "cluster_id")

    def _new_worker(self, disk: str = "live") -> Worker:
        worker = super()._new_worker(disk)
        blocks = worker.store.blocks
        poll = blocks.poll

        def polled(partitions: Any) -> None:
            poll(partitions)
            self._worker_knows()

        blocks.poll = polled  # type: ignore[method-assign]
        if disk == "live":
            self._worker_knows()
        return worker

    def _worker_knows(self) -> None:
        self.worker_polled, self.worker_removed = self.clock, set(self.removed)

    def _flush_some(self, tenants: list[list[str]]) -> None:
        self.work([(some, 100) for some in tenants])
        self.cut_blocks()

    @rule(tenants=st.lists(st.lists(TENANT, min_size=1, unique=True), min_size=1, max_size=4), both=st.booleans())
    def a_flush(self, tenants: list[list[str]], both: bool) -> None:
        """Records come, become blocks, and the blocks go to indexes."""
        self._flush_some(tenants)
        for compactor in self.compactors[: 1 + both]:
            compactor.blocks.poll([0])
        for who in range(1 + both):  # the second one comes too late
            for tenant in TENANTS[: 2 + both]:
                self._act(who, ("fold", tenant), None)

    @precondition(lambda self: self.worker.flushes)
    @rule(tenants=st.lists(TENANT, unique=True))
    def a_flush_is_seen_before_it_is_told(self, tenants: list[str]) -> None:
        """The cut is in storage. Some indexes cover it, and the worker polls, while it still has the segments."""
        worker, job = self.worker, self.worker.flushes.pop(0)
        result = worker.store.flush(0, job, worker.state.to_flush(job))
        self.compactors[0].blocks.poll([0])
        for tenant in tenants:
            self._act(0, ("fold", tenant), None)
        self.clock += 1
        worker.store.blocks.poll([0])
        if result.ours:
            self.every_span_once()
            worker.retired += worker.store.flushed(worker.state, job, result)
        else:
            worker.start_over()

    # ---- readers

    @rule()
    def poll(self) -> None:
        self.clock += 1
        self.worker.store.blocks.poll([0])

    @rule()
    def reader_polls(self) -> None:
        self.clock += 1
        self.reader.poll([])
        self.reader_polled, self.reader_removed = self.clock, set(self.removed)

    # ---- compactors

    @rule(who=WHO)
    def compactor_polls(self, who: int) -> None:
        self.compactors[who].blocks.poll([0])

    @rule(who=WHO, action=ACTIONS, dies_after=DIES_AFTER)
    def compactor_works(self, who: int, action: tuple[Any, ...], dies_after: int | None) -> None:
        self.clock += 1
        self._act(who, action, dies_after)

    @rule(who=WHO, first=ACTIONS, second=ACTIONS)
    def compactors_work_at_once(self, who: int, first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
        """Just before one writes an index, the other one writes its own."""
        self.clock += 1
        store = self.compactors[1 - who].store
        store.before_index = partial(self._later, who, first)
        self._act(1 - who, second, None)
        store.before_index = None

    def _later(self, who: int, action: tuple[Any, ...]) -> None:
        self.clock += 1
        self._act(who, action, None)

    @rule(who=WHO, tenant=TENANT, picks=PICKS)
    def both_merge_the_same(self, who: int, tenant: str, picks: list[int]) -> None:
        """A job is handed out twice: the second result is the first one, and must not be deleted."""
        for compactor in self.compactors:
            compactor.blocks.poll([0])
        self.compactors_work_at_once(who, ("merge", tenant, picks), ("merge", tenant, picks))

    @rule(who=WHO, picks=PICKS)
    def compact_all(self, who: int, picks: list[int]) -> None:
        """All goes as it should for a while."""
        for tenant in TENANTS:
            for action in (("fold", tenant), ("merge", tenant, picks), ("checkpoint",)):
                self.clock += 1
                self.compactors[who].blocks.poll([0])
                self._act(who, action, None)

    @rule(who=WHO, tenant=TENANT, dies_after=DIES_AFTER)
    def delete_removed(self, who: int, tenant: str, dies_after: int | None) -> None:
        """Only blocks that no reader sees any more, as the grace period has it."""
        self._act(who, ("delete_removed", tenant, min(self.worker_polled, self.reader_polled)), dies_after)

    def _act(self, who: int, action: tuple[Any, ...], dies_after: int | None) -> None:
        compactor, (name, *arguments) = self.compactors[who], action
        compactor.now_s, compactor.store.writes_left = float(self.clock), dies_after
        before = self._rows(arguments[0]) if name == "remove" else {}
        with suppress(DiedError):
            getattr(compactor, name)(*arguments)
        if compactor.store.writes_left == 0:
            self.compactors[who] = self._compactor()
        compactor.store.writes_left = None
        if before:
            # Another compactor may have merged some of them meanwhile: those spans are still there.
            left = self._rows(arguments[0])
            gone = set[tuple[str, bytes]]().union(*(before[block_id] for block_id in before.keys() - left.keys()))
            self.removed |= gone.difference(*left.values())

    def _rows(self, tenant: str) -> dict[str, Spans]:
        """The spans of each block of the newest index."""
        index = IndexStore(self.storage).latest(tenant)
        metas = [] if index is None else index.metas()
        return {meta.block_id: set(spans_of(self.worker.store.blocks._fresh_sources(meta), tenant)) for meta in metas}

    @rule(number=st.integers(0, 5))
    def an_earlier_version_wrote_a_cut(self, number: int) -> None:
        """It wrote no metas into it."""
        paths = list(self.storage.paths("cuts"))
        if paths:
            path = paths[number % len(paths)]
            body = orjson.loads(self.storage.get(path) or b"")
            body.pop("metas", None)
            body.pop("crc32", None)
            self.storage.put(path, with_checksum(orjson.dumps(body)))

    # ---- what is true at every step

    @invariant()
    def every_span_once(self) -> None:
        if not hasattr(self, "worker"):
            return
        found = self.worker.spans()
        consumed = [span for spans in self.topic.spans[: self.worker.state.next_offset] for span in spans]
        assert not [span for span in consumed if span not in found and span not in self.removed], "lost"
        assert not [span for span, count in found.items() if count != 1], "counted twice"
        assert not self.worker_removed & found.keys(), "back again"
        self.steps += 1
        if self.steps % 5 == 0:  # they take most of the time, and test_live_machine.py has them, too
            assert self.worker.spans_by_trace() == found
            self.worker.ask_for_another_column()

    @invariant()
    def the_reader_sees_each_flushed_span_once(self) -> None:
        if not hasattr(self, "reader_removed"):
            return
        found: Counter[tuple[str, bytes]] = Counter()
        for tenant in TENANTS:
            snapshot = self.reader.snapshot(tenant)
            assert (snapshot.damaged, snapshot.problems) == ([], {})
            for meta in snapshot.blocks:
                found.update(spans_of(self.reader.sources(meta), tenant))
        held = self.reader._state.chains.get(("cluster_id", 0))
        flushed = [span for spans in self.topic.spans[: held.end if held else 0] for span in spans]
        assert not [span for span in flushed if span not in found and span not in self.removed], "lost"
        assert not [span for span, count in found.items() if count != 1], "counted twice"
        assert not self.reader_removed & found.keys(), "back again"

    @invariant()
    def known_cuts_are_few(self) -> None:
        """What all indexes cover is forgotten."""
        if hasattr(self, "reader"):
            state = self.reader._state
            for held in state.chains.values():
                first = next(iter(held.cuts.values()), None)
                assert first is None or any(
                    state.covered(key.rpartition("/")[0], ("cluster_id", 0)) < first.end for key in first.blocks
                )


def spans_of(sources: list[Any], tenant: str) -> list[tuple[str, bytes]]:
    return [(tenant, span) for source in sources for span in source.read(["span_id"])["span_id"].to_pylist()]


CompactionMachine.TestCase.settings = settings(max_examples=examples(6), stateful_step_count=40, deadline=None)
TestCompactionMachine = CompactionMachine.TestCase
