"""The catalogue of a large bucket: start, polls, snapshots and commits: requests, bytes, time and memory.

    .venv/bin/python -m benchmarks.catalog [--blocks 100000] [--tenants 1 50] [--delay-ms 5]

A bucket on local disk, four partitions, with metas of blocks and no data; a delay is added to each request. Each case
is read by a process of its own.
"""

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.blocks.meta import BlockMeta, FileMeta, block_id, merged_block_id
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, replace_blocks
from tables.catalog.checkpoints import Checkpoint, Checkpoints
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.index_store import IndexStore
from tables.catalog.place import Place
from tables.catalog.tenant_index import TenantIndex, index_path, rows_of
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.request_runner import RequestRunner, StorageRequest
from tables.storage.request_usage import RequestUsage, current_usage

CLUSTER: Final = "cluster"
PARTITIONS: Final = 4
# Of each partition, after the checkpoint.
CUTS: Final = 64
BLOCK_S: Final = 300
FIRST_NS: Final = 1_790_000_000 * 10**9
MB: Final = 1 << 20


class SlowStore(ObjectStore):
    """A store whose requests take longer, and are counted."""

    def __init__(self, config: StorageConfig) -> None:
        super().__init__(config)
        self.delay_s = 0.0
        self.usage = RequestUsage()
        self._runner = SlowRunner(self)


class SlowRunner(RequestRunner):
    """Makes the requests of a `SlowStore`."""

    def __init__(self, store: SlowStore) -> None:
        super().__init__(store.config)
        self._owner = store

    def _count(self, ask: StorageRequest, status: str, size_bytes: int, seconds: float) -> None:
        super()._count(ask, status, size_bytes, seconds)
        self._owner.usage.add(ask.operation, ask.requests, size_bytes, seconds)
        time.sleep(self._owner.delay_s * ask.requests)


def meta_of(tenant: str, partition: int, number: int, bloom_bytes: int = 0) -> BlockMeta:
    """The block of a partition's cut: an offset each, five minutes each. bloom_bytes: of its inline filter"""
    start_ns = FIRST_NS + number * BLOCK_S * 10**9
    end_ns = start_ns + BLOCK_S * 10**9
    ids = sorted(uuid.uuid4().hex for _ in range(2))
    file = FileMeta(
        name="data-0000.parquet",
        size_bytes=20_000 + number % 977,
        spans=200,
        start_min_ns=start_ns,
        end_max_ns=end_ns,
        tail_bytes=3_000,
        tail_crc32=hash(ids[0]) % 2**32,
        trace_id_min=ids[0],
        trace_id_max=ids[1],
        bloom_inline=base64.b64encode(os.urandom(bloom_bytes)).decode(),
    )
    return BlockMeta(
        block_id=block_id(CLUSTER, tenant, partition, number, number),
        tenant=tenant,
        cluster_id=CLUSTER,
        partition=partition,
        partition_count=PARTITIONS,
        first_offset=number,
        last_offset=number,
        spans=200,
        start_min_ns=start_ns,
        end_max_ns=end_ns,
        size_bytes=file.size_bytes,
        files=[file],
        received_min_ms=start_ns // 10**6,
        received_max_ms=end_ns // 10**6,
    )


def make_bucket(folder: Path, blocks: int, tenants: int, bloom_bytes: int) -> None:
    """So many blocks in indexes, and some cuts since the checkpoints."""
    store = ObjectStore(StorageConfig("local", str(folder)))
    names = [f"tenant-{number:04d}" for number in range(tenants)]
    cuts = blocks // tenants // PARTITIONS
    covered = {(CLUSTER, partition): cuts for partition in range(PARTITIONS)}
    for name in names:
        parts = []
        for partition in range(PARTITIONS):
            for first in range(0, cuts, 5_000):
                numbers = range(first, min(first + 5_000, cuts))
                parts.append(rows_of(meta_of(name, partition, number, bloom_bytes) for number in numbers))
        index = TenantIndex(name, 1, pa.concat_tables(parts), covered)
        store.put(index_path(name, 1), index.encode())
    for place in covered:
        Checkpoints(store).write(Checkpoint(place, cuts, dict.fromkeys(names, cuts)))
        for number in range(cuts, cuts + CUTS):
            write_cut(store, names, place, number)


def write_cut(store: ObjectStore, tenants: Sequence[str], place: Place, number: int) -> None:
    """A cut with a block of each tenant."""
    metas = tuple(meta_of(name, place[1], number) for name in tenants)
    Cuts(store, place[0]).write(Cut(place[1], number, number, tuple(meta.key for meta in metas), metas))


class Timer:
    """Prints what something took."""

    def __init__(self, store: SlowStore) -> None:
        self._store = store

    def measure(self, name: str, work: Any) -> Any:
        """The result of the work."""
        usage = self._store.usage = RequestUsage()
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        result = work()
        ms, cpu_ms = (time.perf_counter() - began_s) * 1e3, (time.process_time() - began_cpu_s) * 1e3
        requests = ", ".join(f"{count} {name}" for name, count in sorted(usage.requests.items())) or "-"
        print(f"  {name:42} {ms:9.1f} ms {cpu_ms:9.1f} ms CPU  {usage.bytes / 1e3:10.1f} kB  {requests}")
        return result


def memory_mb(name: str) -> int:
    """VmRSS: resident memory now; VmHWM: at most so far, without that of the process that started this one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) // 1024


def read_bucket(folder: Path, delay_s: float) -> None:
    """What a process does with the bucket, with figures."""
    store = SlowStore(StorageConfig("local", str(folder)))
    store.delay_s = delay_s
    assert current_usage() is None
    timer, before_mb = Timer(store), memory_mb("VmRSS")
    blocks = BlockList(store, CLUSTER, ByteCache("bench", MB))
    timer.measure("start", lambda: blocks.poll(range(PARTITIONS)))
    peak_mb = memory_mb("VmHWM")
    tenants = sorted(blocks.tenants())
    tenant, last = tenants[0], blocks.flushed_offset(0)
    count = sum(len(index) for index in map(blocks.index, tenants) if index is not None)
    timer.measure("poll with nothing new", lambda: blocks.poll(range(PARTITIONS)))
    now_ns = FIRST_NS + last * BLOCK_S * 10**9
    for hours in (1, 24, 24 * 7):
        begin_ns = now_ns - hours * 3600 * 10**9
        name = f"snapshot of {hours} h"
        found = timer.measure(name, lambda begin_ns=begin_ns: blocks.snapshot(tenant, begin_ns, now_ns).blocks)
        timer.measure(f"  again, {len(found)} blocks", lambda b=begin_ns: blocks.snapshot(tenant, b, now_ns).blocks)
    timer.measure("snapshot of all, rows only", lambda: blocks.snapshot(tenant))
    every = timer.measure("snapshot of all, as objects", lambda: blocks.snapshot(tenant).blocks)
    print(f"  … {len(every)} blocks")
    del every
    for partition in range(PARTITIONS):
        write_cut(store, tenants, (CLUSTER, partition), last)
    timer.measure("poll with a new cut of each partition", lambda: blocks.poll(range(PARTITIONS)))
    change = blocks.uncovered(tenant)
    indexes = IndexStore(store)
    timer.measure(
        "commit of the blocks of new cuts", lambda: indexes.commit(tenant, lambda at: add_blocks(at, *change))
    )
    timer.measure("poll with a new version of an index", lambda: blocks.poll(range(PARTITIONS)))
    for known in (False, True):
        _measure_merge(timer, store, blocks, tenant, known=known)
    end_mb = memory_mb("VmRSS")
    print(f"  memory: {before_mb} MB before, {peak_mb} MB at most at the start, {end_mb} MB at the end; {count} rows")


def _measure_merge(timer: Timer, store: ObjectStore, blocks: BlockList, tenant: str, *, known: bool) -> None:
    """The commit of a merge of 16 blocks, and the next poll. known: the writer knows the newest version"""
    index = blocks.index(tenant)
    assert index is not None
    inputs = index.metas(np.arange(16))
    ids = [meta.block_id for meta in inputs]
    merged = inputs[0].model_copy(update={"block_id": merged_block_id(ids), "replaces": ids, "level": 1})
    change = partial(replace_blocks, merged=[merged], replaced=ids, now_s=1.0)
    name = f"commit of a merge, {'its version' if known else 'no version'} known"
    made = timer.measure(name, lambda: IndexStore(store).commit(tenant, change, index if known else None))
    lineage = made.lineage
    print(f"  … index {lineage.whole_bytes:,} bytes whole; deltas since {lineage.delta_bytes:,}")
    timer.measure("  poll after it", lambda: blocks.poll(range(PARTITIONS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=100_000, help="blocks in indexes (default: 100,000)")
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 50], help="tenants (default: 1 50)")
    parser.add_argument("--delay-ms", type=float, default=5.0, help="added to each request (default: 5)")
    parser.add_argument("--bloom-bytes", type=int, default=0, help="size of inline filters of trace ids (default: 0)")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    args = parser.parse_args()
    if args.read is not None:
        read_bucket(args.read, args.delay_ms / 1e3)
        return
    for tenants in args.tenants:
        with tempfile.TemporaryDirectory() as folder:
            make_bucket(Path(folder), args.blocks, tenants, args.bloom_bytes)
            print(f"{args.blocks} blocks of {tenants} tenants, {args.delay_ms:g} ms a request", flush=True)
            command = [sys.executable, "-m", "benchmarks.catalog", "--read", folder, "--delay-ms", str(args.delay_ms)]
            subprocess.run(command, check=True, env=dict(os.environ))


if __name__ == "__main__":
    main()
