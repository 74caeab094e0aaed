"""A trace by its id among many blocks: requests to storage, and time.

    .venv/bin/python -m benchmarks.trace_by_id [--blocks 1000] [--delay-ms 5]

One tenant, four partitions, blocks as they are flushed, on local disk with a delay added to each request. The querier
is that of the worker. "packed": a compactor has put their filters together (`agents.compactor.filter_packer`). "old"
blocks have neither ranges of trace ids nor filters, as those that were written before.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from agents.compactor.filter_packer import FilterPacker
from app.querying.querier import Querier
from app.querying.running.executor import QueryLimits
from benchmarks.workload import Options, Requests, cached
from query.requests import TraceRequest
from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks
from tables.catalog.cuts import Cut
from tables.catalog.index_store import IndexStore
from tables.catalog.tenant_index import TenantIndex
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.columns.trace_index import trace_index
from tables.live.partition import CutPolicy
from tables.live.store import LiveStore
from tables.parquet.write import to_parquet
from tables.seal.raw_fallback import seal_whole
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import partitions_of

PARTITIONS: Final = 4
SPANS_OF_A_TRACE: Final = 5
LOOKUPS: Final = 20
LIMITS: Final = QueryLimits(threads=2, concurrent_max=4, timeout_s=60)
OLD: Final = {"trace_id_min": "", "trace_id_max": "", "bloom_bytes": 0, "bloom_crc32": 0, "bloom_inline": ""}


Shown = tuple[list[BlockMeta], TenantIndex | None]  # blocks of cuts, and an index


class SlowStore(ObjectStore):
    """Each read takes longer, and is counted."""

    delay_s = 0.0

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.requests, self.bytes, self._lock = 0, 0, threading.Lock()

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """As the real one."""
        with self._lock:
            self.requests += 1
            self.bytes += sum(length for _, length in ranges)
        time.sleep(self.delay_s)
        return super().get_ranges(path, ranges)


@dataclass(slots=True)
class World:
    """Blocks, and a trace of each."""

    store: SlowStore
    metas: list[BlockMeta]
    traces: list[bytes]


def main(argv: list[str]) -> int:
    """Prints requests, bytes and milliseconds of lookups."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace_by_id", description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=1000)
    parser.add_argument("--traces", type=int, default=600, help="traces of each block")
    parser.add_argument("--delay-ms", type=float, default=5.0)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder), given.blocks, given.traces)
        size = sum(meta.size_bytes for meta in world.metas)
        filters = sum(meta.bloom_bytes for meta in world.metas)
        spans = sum(meta.spans for meta in world.metas)
        print(f"{len(world.metas)} blocks, {spans:,} spans, {size / 1e6:.0f} MB, filters {filters / 1e6:.2f} MB\n")
        print(f"{'':24}{'requests':>10}{'KB':>10}{'ms':>8}{'CPU ms':>8}")
        world.store.delay_s = given.delay_ms / 1e3
        absent = np.random.default_rng(9).bytes(16 * (LOOKUPS + 40))
        missing = [absent[at : at + 16] for at in range(0, len(absent), 16)]
        old = [without_filters(meta) for meta in world.metas]
        for name, metas, index in (("", world.metas, None), ("packed, ", [], packed(world)), ("old, ", old, None)):
            report(f"{name}not found, cold", world, (metas, index), missing[:1])
            report(f"{name}found, cold", world, (metas, index), world.traces[:1])
            # The others have read the filters of all partitions.
            report(f"{name}not found, warm", world, (metas, index), missing[:LOOKUPS], missing[LOOKUPS:])
            report(f"{name}found, warm", world, (metas, index), world.traces[:LOOKUPS], missing[LOOKUPS:])
    return 0


def packed(world: World) -> TenantIndex:
    """An index of the blocks, as a compactor leaves it."""
    indexes = IndexStore(world.store)
    covered = {("bench", partition): len(world.metas) for partition in range(PARTITIONS)}
    index = indexes.commit("t", partial(add_blocks, metas=world.metas, covered=covered))
    assert index is not None
    blocks = BlockList(world.store, "bench", ByteCache("bench-columns", 1))
    blocks.take_index(index)
    FilterPacker(blocks, indexes, 3600.0, time.time).run("t")
    found = blocks.index("t")
    assert found is not None
    return found


def build(folder: Path, blocks: int, traces: int) -> World:
    """Blocks with traces of the workload, whose ids are made anew for each."""
    store = SlowStore(StorageConfig("local", str(folder)))
    table = shortened(traces)
    offsets = trace_index(one_array(table["trace_id"])).offsets
    start_ns, end_ns = time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))
    ids: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    rng, world = np.random.default_rng(1), World(store, [], [])
    for number in range(blocks):
        partition = number % PARTITIONS
        while len(ids[partition]) < traces:
            raw = rng.bytes(16 * 4096)
            made = [raw[at : at + 16] for at in range(0, len(raw), 16)]
            for one, place in zip(made, partitions_of(pa.array(made, pa.binary(16)), PARTITIONS).tolist(), strict=True):
                ids[place].append(one)
        own, ids[partition] = sorted(ids[partition][:traces]), ids[partition][traces:]
        of_rows = np.repeat(np.array(own, "S16"), np.diff(offsets))
        column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(of_rows), [None, pa.py_buffer(of_rows)])
        data = to_parquet(table.set_column(table.schema.get_field_index("trace_id"), "trace_id", column))
        block = BlockRange("bench", "t", partition, PARTITIONS, number, number)
        world.metas.append(write_block(store, block, [SegmentFile(data, table.num_rows, start_ns, end_ns)]))
        world.traces.append(own[traces // 2])
    return world


def shortened(traces: int) -> pa.Table:
    """The first spans of so many traces, as a sealed table."""
    requests = list(Requests(cached(Options(spans=30 * traces))))
    sealed, _ = seal_whole([OtlpDecoder().decode(requests).spans], 300, lambda _: None)
    assert sealed is not None
    offsets = trace_index(one_array(sealed["trace_id"])).offsets[: traces + 1]
    rows = [np.arange(low, min(low + SPANS_OF_A_TRACE, high)) for low, high in pairwise(offsets)]
    return sealed.take(pa.array(np.concatenate(rows)))


def without_filters(meta: BlockMeta) -> BlockMeta:
    """As a block of before."""
    return meta.model_copy(update={"files": [file.model_copy(update=OLD) for file in meta.files]})


def querier(world: World, shown: Shown) -> Querier:
    """A worker's, that has just started."""
    metas, index = shown
    columns: ByteCache[Any, Any] = ByteCache("bench-columns", 384 << 20)
    blocks = BlockList(world.store, "bench", columns)
    if index is not None:
        blocks.take_index(index)
    for partition in range(PARTITIONS):
        of_partition = [meta for meta in metas if meta.partition == partition]
        for before, meta in zip([None, *of_partition], of_partition, strict=False):
            first = 0 if before is None else before.last_offset + 1
            blocks.add(Cut(partition, first, meta.last_offset, (meta.key,)), [meta])
    policy = CutPolicy(PARTITIONS)
    unused: Any = None
    store = LiveStore(unused, blocks, policy, unused, columns)
    manager: Any = SimpleNamespace(store=store, behind=set, damage={}, partition_count=PARTITIONS, record_counts=set)
    return Querier(manager, LIMITS)


def report(name: str, world: World, shown: Shown, ids: list[bytes], before: Sequence[bytes] = ()) -> None:
    """A line of the mean of some lookups, behind others."""
    asked, store = querier(world, shown), world.store

    async def lookups(wanted: Sequence[bytes], check: Callable[[pa.Table | None], bool]) -> None:
        for one in wanted:
            answer = await asked.trace("t", TraceRequest(trace_id=one))
            assert check(answer.table), f"a wrong answer for {one.hex()}"

    found = "not" not in name

    def right(table: pa.Table | None) -> bool:
        return (table is not None) == found and (table is None or 0 < table.num_rows <= SPANS_OF_A_TRACE)

    asyncio.run(lookups(before, lambda _: True))
    store.requests = store.bytes = 0
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    asyncio.run(lookups(ids, right))
    took_s = time.perf_counter() - started_s
    took_cpu_s = time.process_time() - started_cpu_s
    asked.close()
    count = len(ids)
    each = (store.requests / count, store.bytes / count / 1e3, took_s / count * 1e3, took_cpu_s / count * 1e3)
    print(f"{name:24}" + "".join(f"{value:{width}.1f}" for value, width in zip(each, (10, 10, 8, 8), strict=True)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
