"""`python -m benchmarks.months`: the simulation loses nothing, and its report says what it measured."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.settings import Settings
from benchmarks.months.__main__ import main
from benchmarks.months.measure import measured
from benchmarks.months.simulation import Months, Plan
from benchmarks.months.traffic import Traffic
from tables.schema import NO_PARENT
from tables.wire.split import partitions_of


def test_segments_have_their_own_traces() -> None:
    """Sorted, of one partition, with parents that are there, and never the same."""
    traffic = Traffic(spans=40, partitions=4, attribute_columns_max=300)
    seen: set[tuple[bytes, bytes]] = set()
    roots = 0
    for number in range(16):
        segment = traffic.segment(number % 4, 1_800_000_000 + 300 * number)
        table = pq.read_table(pa.BufferReader(segment.data))
        ids = table["trace_id"].combine_chunks()
        assert set(partitions_of(ids, 4).tolist()) == {number % 4}
        assert ids.to_pylist() == sorted(ids.to_pylist())
        spans = set(zip(ids.to_pylist(), table["span_id"].to_pylist(), strict=True))
        assert len(spans) == len(table) == segment.spans
        assert not spans & seen
        seen |= spans
        # A template is a piece of a stream: some parents are outside of it.
        parents = set(zip(ids.to_pylist(), table["parent_span_id"].to_pylist(), strict=True))
        assert len(spans & parents) > 1
        roots += sum(parent == NO_PARENT for _, parent in parents)
        assert segment.start_min_ns == min(table["start_ns"].to_pylist()) >= segment.received_min_ms * 1_000_000
    assert roots


@pytest.mark.parametrize("tenants", [1, 3])
def test_every_span_is_visible_once(tenants: int, tmp_path: Path) -> None:
    plan = Plan(days=0.06, tenants=tenants, partitions=2, spans=20)
    months = Months(plan, tmp_path, Settings())
    for _ in range(plan.flushes):
        months.flush()
    spans = months.written.flushed_spans
    found = measured(months)
    assert found.spans == spans == plan.flushes * plan.partitions * tenants * 20
    assert found.blocks < months.written.flushed_blocks / 2
    assert 0 < months.written.amplification < 4
    assert found.poll.requests <= 2 + plan.partitions
    assert found.queries["trace by id"].requests < 10


def test_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--days", "0.03", "--without", "0.03", "--partitions", "1", "--spans", "20"]) == 0
    out = capsys.readouterr().out
    assert out.count("| query over all time |") == 2
    assert "0.03 days with a compactor: 1 tenants, 1 partitions, a flush every 300 s, 20 spans a block" in out
    assert "write amplification" in out
    with pytest.raises(SystemExit):
        main(["--spans", "0"])
