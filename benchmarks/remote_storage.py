"""Queries over millions of spans in an object storage that is some milliseconds away.

    python -m benchmarks.remote_storage                     # 1M spans
    python -m benchmarks.remote_storage --spans 10000000    # moto holds them in memory: 0.4 GB

    python -m benchmarks.remote_storage --spans 10000000 --folder --delay-ms 10

Blocks are made once, and kept in `.cache`. With --folder they are read from there, and only the delay is that of a
remote storage: moto takes 4 ms of CPU for a request, and answers 200 a second.

The storage is moto's server (S3), in a process of its own; each request waits --delay-ms besides. Blocks are as a
compactor leaves them: merged files, a block for each million spans, one after the other in time, and an index that
names packs of their filters. The querier is that of
the worker. Cold: it has just started, and has read nothing; warm: the same question again. Of a query's time moto takes
a part: the line "one request" says how long it takes to read 64 KiB.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agents.compactor.filter_packer import FilterPacker
from app.querying.querier import Querier
from app.querying.running.executor import QueryLimits
from benchmarks import workload
from benchmarks.merge import COLUMNS_MAX, segments
from query.requests import InstantRequest, RangeRequest, SearchRequest, TraceRequest
from query.scan.progress import QueryObserver
from tables.blocks.meta import BlockMeta, decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks
from tables.catalog.index_store import IndexStore
from tables.columns.arrays import fixed_bytes, numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.live.partition import CutPolicy
from tables.live.store import LiveStore
from tables.merge.merge_blocks import merge_blocks
from tables.parquet.encode_file import encode_parquet
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore
from tests.harness.moto_process import moto_options, moto_process

_BUCKET: Final = "bench"
_TENANT: Final = "t"
_SEGMENT_ROWS: Final = 65_536
_STEPS: Final = 100
_NS: Final = 1_000_000_000
LIMITS: Final = QueryLimits(threads=2, concurrent_max=4, timeout_s=120)

Ask = Callable[[Querier], Awaitable[object]]


class SlowStore(ObjectStore):
    """Each read waits before, and is counted."""

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.delay_s, self.reads, self.bytes, self._lock = 0.0, 0, 0, threading.Lock()

    def get(self, path: str) -> bytes | None:
        """As the real one."""
        time.sleep(self.delay_s)
        data = super().get(path)
        self._count(0 if data is None else len(data))
        return data

    def get_ranges(self, path: str, ranges: Sequence[tuple[int, int]]) -> Sequence[Any]:
        """As the real one."""
        time.sleep(self.delay_s)
        self._count(sum(length for _, length in ranges))
        return super().get_ranges(path, ranges)

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self.reads += 1
            self.bytes += size_bytes


@contextmanager
def moto() -> Iterator[SlowStore]:
    """A storage with an empty bucket. Raises: BenchError"""
    with tempfile.TemporaryDirectory() as folder, moto_process(_BUCKET, Path(folder) / "moto.log") as address:
        options = moto_options(address)
        yield SlowStore(StorageConfig("s3", _BUCKET, "", options, read_timeout_s=60.0, write_timeout_s=120.0))


def stand_in(folder: Path) -> SlowStore:
    """A folder that queries take for a remote storage."""
    store = SlowStore(StorageConfig("local", str(folder)))
    store.config = replace(store.config, backend="s3")
    return store


@dataclass(frozen=True, slots=True)
class World:
    """What was written. trace_id: of one trace; end_ns: of the last span"""

    metas: list[BlockMeta]
    trace_id: bytes
    start_ns: int
    end_ns: int


def blocks_folder(spans: int, block_spans: int) -> Path:
    """With blocks of the workload's spans, merged; each has other trace ids and later times than the one before."""
    folder = workload.CACHE / f"remote-{spans}-{block_spans}"
    if not folder.exists():
        workload.make_cache(workload.CACHE)
        unfinished = folder.with_suffix(".partial")
        _build(ObjectStore(StorageConfig("local", str(unfinished))), spans, block_spans)
        unfinished.rename(folder)
    return folder


def world(folder: Path, copy_to: ObjectStore | None) -> World:
    """What is in the folder; it is copied to a storage if there is one."""
    local, metas = ObjectStore(StorageConfig("local", str(folder))), []
    for path in local.paths("blocks"):
        if path.endswith("/meta.json"):
            data = local.get(path)
            assert data is not None
            metas.append(decode_meta(path, data))
    metas.sort(key=lambda meta: meta.first_offset)
    if not list(local.paths("index")):
        _index(local, metas)
    if copy_to is not None:
        for path in local.paths(""):
            copy_to.put(path, local.get(path))
    trace_id = bytes.fromhex(metas[0].files[0].trace_id_max)
    return World(metas, trace_id, min(one.start_min_ns for one in metas), max(one.end_max_ns for one in metas))


def _index(store: ObjectStore, metas: Sequence[BlockMeta]) -> None:
    """The tenant's index, and its packs of filters, as a compactor leaves them."""
    indexes, ends = IndexStore(store), {("bench", 0): len(metas)}
    index = indexes.commit(_TENANT, partial(add_blocks, metas=metas, covered=ends))
    assert index is not None
    blocks = BlockList(store, "bench", ByteCache("bench-columns", 1))
    blocks.take_index(index)
    FilterPacker(blocks, indexes, 3600.0, time.time).run(_TENANT)


def _build(store: ObjectStore, spans: int, block_spans: int) -> None:
    source = workload.cached(workload.Options(spans=min(spans, block_spans)))
    with tempfile.TemporaryDirectory(dir=workload.CACHE) as folder:
        local = ObjectStore(StorageConfig("local", folder))
        sealed = [SegmentFile(to_parquet(one), one.num_rows, 0, 1) for one in segments(source, _SEGMENT_ROWS)]
        block = write_block(local, BlockRange("bench", _TENANT, 0, 1, 0, 0), sealed)
        merged = merge_blocks(local, [block], COLUMNS_MAX, folder=Path(folder)).meta
        tables = [pq.read_table(Path(folder) / merged.path_of(file)) for file in merged.files]
    whole = pc.max(pc.add(pa.chunked_array([c for t in tables for c in t["start_ns"].chunks]), 1)).as_py()
    shift_ns = whole - workload.EPOCH_S * _NS
    written = number = 0
    while written < spans:
        copies = [_copy(table, number, number * shift_ns) for table in tables]
        if not number:
            needle = pa.array(["found"] + [None] * (copies[0].num_rows - 1), pa.string())
            copies[0] = copies[0].append_column("span.bench.needle", needle)
        files = [SegmentFile(encode_parquet(table), table.num_rows, *_times(table), merged=True) for table in copies]
        written += write_block(store, BlockRange("bench", _TENANT, 0, 1, number, number), files).spans
        number += 1


def _times(table: pa.Table) -> tuple[int, int]:
    return time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))


def _copy(table: pa.Table, number: int, shift_ns: int) -> pa.Table:
    words = np.ascontiguousarray(fixed_bytes(one_array(table["trace_id"]))).view(np.uint64).reshape(-1, 2).copy()
    words[:, 1] ^= np.uint64(0x9E3779B97F4A7C15 * number & 0xFFFFFFFFFFFFFFFF)  # their order stays
    ids = pa.Array.from_buffers(pa.binary(16), len(words), [None, pa.py_buffer(words)])
    table = table.set_column(table.schema.get_field_index("trace_id"), "trace_id", ids)
    for name in ("start_ns", "trace_start_ns"):
        times = pc.add(table[name], shift_ns)
        table = table.set_column(table.schema.get_field_index(name), name, times)
    return table


def querier(store: ObjectStore) -> Querier:
    """A worker's, that has just started."""
    columns: ByteCache[Any, Any] = ByteCache("bench-columns", 384 << 20)
    blocks = BlockList(store, "bench", columns)
    blocks.poll([0])
    unused: Any = None
    live = LiveStore(unused, blocks, CutPolicy(1), unused, columns)
    manager: Any = SimpleNamespace(store=live, behind=set, damage={}, partition_count=1, record_counts=set)
    return Querier(manager, LIMITS)


def _partial() -> QueryObserver:
    """There is no live store here: each answer says that it may miss recent spans."""
    return QueryObserver(missing_data=[])


def questions(world: World) -> dict[str, Ask]:
    """By name."""

    def search(query: str, limit: int = 20) -> Ask:
        return lambda asked: asked.search(_TENANT, SearchRequest(query=query, limit=limit), _partial())

    step_ns = (world.end_ns - world.start_ns) // _STEPS
    ranged = RangeRequest(query="{ } | rate()", start_ns=world.start_ns, end_ns=world.end_ns, step_ns=step_ns)
    counted = InstantRequest(query="{ } | count_over_time()", start_ns=world.start_ns, end_ns=world.end_ns + _NS)
    return {
        "trace by id (60 ms)": lambda asked: asked.trace(_TENANT, TraceRequest(trace_id=world.trace_id)),
        "a rare word (300 ms)": search('{ span.bench.needle = "found" }'),
        "no such attribute": search('{ span.nosuch = "x" }'),
        "rate() of all (1,500 ms)": lambda asked: asked.metrics_range(_TENANT, ranged, _partial()),
        "count of all": lambda asked: asked.metrics_instant(_TENANT, counted, _partial()),
        "newest 20 of a service (150 ms)": search('{ resource.service.name = "payments" }'),
    }


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds. reads: of the cold query, at once or one after the other; read_mb: their bytes"""

    cold_ms: float
    cold_cpu_ms: float
    reads: int
    read_mb: float
    warm_ms: float
    warm_cpu_ms: float


async def measure(store: SlowStore, ask: Ask) -> Took:
    """Asks once cold, then three times warm, of which the quickest counts."""
    asked = querier(store)
    store.reads = store.bytes = 0
    took: list[tuple[float, float]] = []
    reads, size = 0, 0
    for _ in range(4):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        await ask(asked)
        took.append((1e3 * (time.perf_counter() - began_s), 1e3 * (time.process_time() - began_cpu_s)))
        if len(took) == 1:
            reads, size = store.reads, store.bytes
    asked.close()
    return Took(*took[0], reads, size / 1e6, *min(took[1:]))


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote_storage", description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--block-spans", type=int, default=1_000_000)
    parser.add_argument("--delay-ms", type=float, default=5.0)
    parser.add_argument("--folder", action="store_true", help="without moto")
    given = parser.parse_args(argv)
    folder = blocks_folder(given.spans, given.block_spans)
    with nullcontext(stand_in(folder)) if given.folder else moto() as store:
        made = world(folder, None if given.folder else store)
        files = [(meta, file) for meta in made.metas for file in meta.files]
        size = sum(meta.size_bytes for meta in made.metas)
        spans = sum(meta.spans for meta in made.metas)
        print(f"{spans:,} spans, {len(made.metas)} blocks, {len(files)} files, {size / 1e6:.0f} MB")
        store.delay_s = given.delay_ms / 1e3
        path = files[0][0].path_of(files[0][1])
        read = partial(store.get_ranges, path, [(0, 64 << 10)])
        began_s = time.perf_counter()
        for _ in range(10):
            read()
        print(f"one request: {100 * (time.perf_counter() - began_s):.1f} ms, {given.delay_ms:g} of them added")
        print(f"{'':32}{'cold ms':>9}{'CPU ms':>8}{'reads':>7}{'MB':>7}{'warm ms':>9}{'CPU ms':>8}")
        asyncio.run(measure(store, questions(made)["count of all"]))  # imports, and the grammar
        for name, ask in questions(made).items():
            took = asyncio.run(measure(store, ask))
            cold = f"{took.cold_ms:9.0f}{took.cold_cpu_ms:8.0f}{took.reads:7}{took.read_mb:7.1f}"
            print(f"{name:32}{cold}{took.warm_ms:9.1f}{took.warm_cpu_ms:8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
