"""Redactions and queries: nobody sees what was removed, wherever it lies: heads, segments, flushes, blocks."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.querying.querier import Querier
from query.requests import TraceRequest
from tables.blocks.trace_filters import TraceFilters
from tables.catalog.index_store import IndexStore
from tables.catalog.redactor import RedactionReport, Redactor
from tables.redaction.rules import Redaction
from tables.storage.byte_cache import ByteCache
from tests.helpers.blocks.damage import counts
from tests.helpers.live.live_store import TP0, World, message, world
from tests.helpers.querying.queriers import LIMITS, TRACE

EVERYTHING = Redaction(trace_id=TRACE.hex(), created_s=1.0, kept_until_s=10.0)


def redactor(w: World, now_s: float = 5.0) -> Redactor:
    pool = ThreadPoolExecutor(2)
    filters = TraceFilters(pool, ByteCache("bloom-redactions", 1 << 20))
    return Redactor(w.store.blocks, IndexStore(w.storage), filters, [0], lambda: now_s)


async def seen(w: World, tenant: str = "t") -> tuple[int, ...]:
    """Spans that searches, metrics and a trace by id see."""
    asked = Querier(w.manager, LIMITS)
    answer = await asked.trace(tenant, TraceRequest(trace_id=TRACE))
    found = await counts(asked, tenant)
    asked.close()
    return (*found, 0 if answer.table is None else answer.table.num_rows)


async def flushed(w: World, first: int, spans: int = 12) -> None:
    """A block of tenant t, one of u."""
    await w.manager.take(message(first, spans=spans, seconds=100 * first + 100))
    await w.manager.take(message(first + 1, spans=2, key=b"u", seconds=100 * first + 100))
    await w.manager.take(message(first + 2, spans=1, key=b"u", seconds=100 * first + 300))
    await w.flush_all()


def all_bytes(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "storage" / "blocks" / "t").rglob("*.parquet"))


def test_a_trace_is_gone_from_blocks_and_from_what_is_flushed_later(tmp_path: Path) -> None:
    """And no other tenant misses a span."""

    async def run() -> None:
        with world(tmp_path) as w:
            await w.manager.resume([TP0])
            await flushed(w, 0)
            await w.manager.take(message(3, spans=5, seconds=301))
            await w.manager.drain(0)
            await w.manager.take(message(4, spans=3, seconds=302))
            assert await seen(w) == (20, 20, 20, 20)
            others = await seen(w, "u")
            # In force, but not applied to any block yet.
            redacts = redactor(w)
            redacts.put_in_force("t", EVERYTHING)
            assert await seen(w) == (0, 0, 0, 0)
            assert await seen(w, "u") == others
            report = redacts.run("t")
            assert (report.removed, report.blocks, report.spans, report.failed) == (1, 0, 12, {})
            assert await seen(w) == (0, 0, 0, 0)
            redacts.delete_replaced("t", report.replaced)
            assert all_bytes(tmp_path) == []
            # What was in segments and heads becomes no block.
            await w.manager.take(message(5, spans=1, key=b"u", seconds=700))
            await w.flush_all()
            assert all_bytes(tmp_path) == []
            assert w.store.blocks.flushed_offset(0) == 5
            assert await seen(w) == (0, 0, 0, 0)
            w.store.blocks.poll([0])
            assert await seen(w) == (0, 0, 0, 0)
            # It ends when Kafka has nothing of it any more.
            assert redactor(w, 9.0).run("t") == RedactionReport()
            assert len(w.store.blocks.redactions("t")) == 1
            assert redactor(w, 11.0).run("t") == RedactionReport()
            assert w.store.blocks.redactions("t") == ()
            assert list(w.storage.paths("redactions")) == []

    asyncio.run(run())


def test_a_block_of_a_worker_that_did_not_know_yet(tmp_path: Path) -> None:
    """It is hidden until the next run writes it anew."""

    async def run() -> None:
        with world(tmp_path) as w:
            await w.manager.resume([TP0])
            await flushed(w, 0)
            known = w.store.blocks.redactions
            redacts = redactor(w)
            redacts.put_in_force("t", Redaction(trace_id=TRACE.hex(), kept_until_s=10.0))
            assert redacts.run("t").spans == 12
            w.store.blocks.redactions = lambda _: ()
            await w.manager.take(message(3, spans=4, seconds=400))
            await w.manager.take(message(4, spans=1, key=b"u", seconds=800))
            await w.flush_all()
            w.store.blocks.redactions = known
            assert len(w.store.blocks.snapshot("t").blocks) == 1
            assert await seen(w) == (0, 0, 0, 0)
            report = redacts.run("t")
            assert (report.removed, report.spans) == (1, 4)
            assert w.store.blocks.snapshot("t").blocks == []
            assert await seen(w) == (0, 0, 0, 0)
        shutil.rmtree(tmp_path / "live")
        with world(tmp_path) as w:
            await w.manager.resume([TP0])
            assert await seen(w) == (0, 0, 0, 0)

    asyncio.run(run())


def test_two_at_once_remove_each_span_once(tmp_path: Path) -> None:
    """The second finds nothing to do, at whatever step it comes in between."""

    async def run() -> None:
        with world(tmp_path) as w:
            await w.manager.resume([TP0])
            for first in (0, 3, 6):
                await flushed(w, first)
            others = await seen(w, "u")
            window = Redaction(trace_id=TRACE.hex(), attribute="span.none", kept_until_s=10.0)
            one, two = redactor(w), redactor(w)
            one.put_in_force("t", EVERYTHING)
            two.put_in_force("t", window)
            assert {each.id for each in w.store.blocks.redactions("t")} == {EVERYTHING.id, window.id}
            before = one._show
            ran: list[RedactionReport] = []

            def show(*args):
                if not ran:
                    ran.append(two.run("t"))
                return before(*args)

            one._show = show
            report = one.run("t")
            assert report.spans + ran[0].spans >= 36
            assert (report.failed, ran[0].failed) == ({}, {})
            assert await seen(w) == (0, 0, 0, 0)
            assert await seen(w, "u") == others

    asyncio.run(run())


@pytest.mark.parametrize("damage", ["missing", "other bytes"])
def test_a_damaged_block_is_named(tmp_path: Path, damage: str) -> None:
    """Others are redacted all the same."""

    async def run() -> None:
        with world(tmp_path) as w:
            await w.manager.resume([TP0])
            await flushed(w, 0)
            (bad,) = all_bytes(tmp_path)
            await flushed(w, 3)
            if damage == "missing":
                bad.unlink()
            else:
                bad.write_bytes(bad.read_bytes()[:-30] + bytes(30))
            redacts = redactor(w)
            redacts.put_in_force("t", EVERYTHING)
            report = redacts.run("t")
            assert report.spans == 12
            assert list(report.failed) == [f"t/{bad.parent.name}"]
            assert not report.done

    asyncio.run(run())
