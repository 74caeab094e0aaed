"""Records of topic `spans` that other producers wrote: counted, logged, passed over; their neighbours are unhurt."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from query.trace.trace import find_trace
from tables.errors import WireError
from tables.live.partition import CutPolicy
from tables.wire import record
from tests.helpers.generator.generated import Fed
from tests.helpers.live.live_store import DECODER, TP0, message, shared_message, world
from tests.helpers.live.whole_way import request, span
from tests.helpers.loops import in_loop
from tests.helpers.receiving.foreign_records import WRONG, batch, value_of


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in WRONG.items()])
def test_each_is_refused_where_it_is_read(value: bytes) -> None:
    """With an error that says what is wrong; nothing is read beyond a buffer, no memory taken for a claim."""
    before = pa.total_allocated_bytes()
    with pytest.raises(WireError):
        record.decode(value)
    assert pa.total_allocated_bytes() - before < 10 << 20


def test_a_column_that_nobody_knows_is_left_out() -> None:
    """As `raw`, which is made here only."""
    spans = batch().append_column("raw", pa.array([b"x", b"y"]))
    assert record.decode(value_of(spans)).equals(batch())


def skipped() -> float:
    name = "stretto_live_store_records_skipped_total"
    return sum(
        REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0 for reason in ("headers", "value", "unexpected")
    )


HEADERS: dict[str, Any] = {
    "no version": [],
    "null version": [("v", None)],
    "null count": [("v", b"1"), ("n", None), ("t", b"0-0")],
    "count of 5,000 digits": [("v", b"1"), ("n", b"9" * 5000), ("t", b"0-0")],
    "count of 100 digits": [("v", b"1"), ("n", b"9" * 100), ("t", b"0-0")],
    "times of 30 digits": [("v", b"1"), ("n", b"1"), ("t", b"0-" + b"9" * 30)],
    "null owners": [("v", b"2"), ("n", b"1"), ("t", b"0-0"), ("m", None)],
    "not text": [("v", b"1"), ("n", b"1"), ("t", b"\xff")],
}


@in_loop
async def test_beside_two_tenants(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In shared records and their own: head, segment, block and a restart have every good span, offsets go on."""
    policy = CutPolicy(partitions=1, segment_age_ms=1000, block_age_ms=5000)
    before = skipped()
    with world(tmp_path, policy=policy) as w, caplog.at_level(logging.WARNING):
        await w.manager.resume([TP0])
        offset = 0
        for value in WRONG.values():
            await w.manager.take(shared_message(offset, 1, 1))
            await w.manager.take(shared_message(offset + 1, 1, 1, value=value))
            await w.manager.take(message(offset + 2, 1))
            await w.manager.take(message(offset + 3, 2, value=value))
            offset += 4
        for headers in HEADERS.values():
            await w.manager.take(message(offset, 1, headers=headers))
            offset += 1
        assert w.state.next_offset == offset
        good = {"t": 2 * len(WRONG), "t1": len(WRONG)}
        assert {tenant: w.spans(tenant) for tenant in good} == good
        await w.manager.seal_all()
        assert {tenant: w.spans(tenant) for tenant in good} == good
        assert skipped() - before == 2 * len(WRONG) + len(HEADERS)
        assert "skipped spans[0]@1: " in caplog.text
    with world(tmp_path, policy=policy) as w:
        await w.manager.resume([TP0])
        assert w.state.next_offset == offset
        await w.manager.take(message(offset, 1, seconds=1000))
        await w.flush_all()
        assert w.consumer.committed == [offset]
        live = w.store.view("t1")
        sources = [source for meta in live.blocks.blocks for source in w.store.blocks.sources(meta)]
        table = find_trace(sources, b"\1" * 16)
        assert table is not None
        assert len(table) == len(WRONG)


def test_the_generator_goes_on(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Spans that it cannot read, or that came at an absurd time, are left out alone."""
    from agents.generator.processors import tenant

    real = tenant.Batch

    def made(spans: Any, *args: Any) -> Any:
        if "poison" in spans.column("name").to_pylist():
            raise IndexError("no")
        return real(spans, *args)

    monkeypatch.setattr(tenant, "Batch", made)
    fed = Fed()
    for offset, name in enumerate(["good", "poison", "good"]):
        decoded = DECODER.decode([request([span(offset + 1, name=name)], service_name="s")]).spans
        fed.generator.add(offset, record.decode(record.encode(decoded)[0]), fed.now_ms, fed.now_ms / 1000)
    fed.generator.add(9, record.decode(record.encode(batch())[0]), 2**62, fed.now_ms / 1000)
    pushed = fed.push()
    assert "1 spans of partition 1, offset -1, cannot be counted" in caplog.text
    assert any(("span_name", "good") in labels for labels in pushed)


def test_schemas_on_several_threads() -> None:
    """Records with all kinds of columns, read by the seal, queries and the generator at once."""
    optional = ["flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"]
    spans, values = batch(), []
    for chosen in range(1, 2 ** len(optional)):
        made = spans
        for bit, name in enumerate(optional):
            if chosen >> bit & 1:
                made = made.append_column(name, pa.array([0] * len(spans), pa.uint32()))
        values += [value_of(made), value_of(made.select(made.schema.names[::-1]))]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda n: len(record.decode(values[n * 7 % len(values)])), range(4000)))
    finally:
        sys.setswitchinterval(interval_s)
    assert set(done) == {len(spans)}
