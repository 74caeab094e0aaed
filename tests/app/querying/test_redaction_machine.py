"""The live store's state machine, with traces that are removed for good at any moment, by somebody beside the worker.

A redaction is put in force, blocks are written anew, replaced ones are deleted, while the worker appends, seals,
flushes and crashes, and learns of it all by polls only.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from app.querying.blocks.redacted import redacted_blocks, redacted_parts
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.block_list import BlockList
from tables.catalog.index_store import IndexStore
from tables.catalog.redactor import Redactor
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore
from tests.helpers.examples import examples
from tests.helpers.live.live_machine import TENANTS, LiveMachine, Topic, Worker

POOL = ThreadPoolExecutor(2, "redaction-machine")


def filters() -> TraceFilters:
    return TraceFilters(POOL, ByteCache("bloom-machine", 1 << 20))


class TracedTopic(Topic):
    """Knows the trace of each span."""

    def __init__(self) -> None:
        super().__init__()
        self.trace_of: dict[tuple[str, bytes], int] = {}

    def produce(self, runs: Sequence[tuple[str, int]], traces: int) -> None:
        super().produce(runs, traces)
        numbers = [1 + n % traces for _, spans in runs for n in range(spans)]
        self.trace_of.update(zip(self.spans[-1], numbers, strict=True))


class RedactingWorker(Worker):
    """Its queries hide what redactions remove."""

    def __init__(self, folder: Path, storage: ObjectStore) -> None:
        self.filters = filters()
        super().__init__(folder, storage)

    def sources(self, tenant: str, trace_id: bytes | None = None) -> list[Any]:
        live = self.store.view(tenant)
        redactions, blocks = live.blocks.redactions, self.store.blocks
        found = redacted_blocks(blocks, live.blocks.blocks, redactions, self.filters)
        parts = [source for parts in live.parts.values() for part in parts for source in part(trace_id)]
        return [source for source in [*found, *redacted_parts(parts, redactions)] if source.rows]


class RedactionMachine(LiveMachine):
    @initialize()
    def start(self) -> None:
        super().start()
        self.topic = TracedTopic()
        self.asked: dict[tuple[str, int], str] = {}
        blocks = BlockList(self.storage, "", ByteCache("columns-redactor", 1 << 20))
        self.redactor = Redactor(blocks, IndexStore(self.storage), filters(), (), lambda: 1.0)

    def _new_worker(self, disk: str = "live") -> Worker:
        return RedactingWorker(self.folder / disk, self.storage)

    @rule(tenant=st.sampled_from(TENANTS), trace=st.integers(1, 3))
    def drop_trace(self, tenant: str, trace: int) -> None:
        redaction = Redaction(trace_id=trace.to_bytes(16, "big").hex(), kept_until_s=2.0)
        self.redactor.put_in_force(tenant, redaction)
        self.asked[tenant, trace] = redaction.id

    @rule(tenant=st.sampled_from(TENANTS))
    def redact_blocks(self, tenant: str) -> None:
        assert self.redactor.run(tenant).done

    @rule()
    def poll(self) -> None:
        self.worker.store.blocks.poll([0])

    @rule(tenant=st.sampled_from(TENANTS))
    def delete_replaced(self, tenant: str) -> None:
        """Two polls later."""
        self.poll()
        index = self.worker.store.blocks.index(tenant)
        if index is not None:
            self.redactor.delete_replaced(tenant, [one.block_id for one in index.removed])

    @rule()
    def everything_in_blocks(self) -> None:
        """Then no file has any of it."""
        self.poll()
        self.cut_blocks()
        for tenant in TENANTS:
            self.redact_blocks(tenant)
            self.delete_replaced(tenant)
            blocks = self.worker.store.blocks
            for meta in blocks.snapshot(tenant).blocks:
                for source in blocks.sources(meta):
                    ids = {int.from_bytes(one, "big") for one in source.read(["trace_id"])["trace_id"].to_pylist()}
                    assert not [trace for trace in ids if (tenant, trace) in self.asked]

    @invariant()
    def every_span_once(self) -> None:
        if not hasattr(self, "worker") or not hasattr(self, "asked"):
            return
        found, topic = self.worker.spans(), self.topic
        assert isinstance(topic, TracedTopic)
        known = {
            (tenant, trace)
            for (tenant, trace), name in self.asked.items()
            if any(one.id == name for one in self.worker.store.blocks.redactions(tenant))
        }
        consumed = [span for spans in topic.spans[: self.worker.state.next_offset] for span in spans]
        traces = {span: (span[0], topic.trace_of[span]) for span in [*consumed, *found]}
        assert not [span for span in consumed if span not in found and traces[span] not in self.asked], "lost"
        assert not [span for span, count in found.items() if count != 1], "counted twice"
        assert not [span for span in found if traces[span] in known], "seen although it is removed"
        assert self.worker.spans_by_trace() == found
        self.worker.ask_for_another_column()

    def teardown(self) -> None:
        if hasattr(self, "worker"):
            self.worker.close()
            shutil.rmtree(self.folder)


RedactionMachine.TestCase.settings = settings(max_examples=examples(12), stateful_step_count=30, deadline=None)
TestRedactionMachine = RedactionMachine.TestCase
