"""Speed and memory of merging blocks, without a cluster.

    python -m benchmarks.merge [--spans N] [--segment-spans N] [--copies N] [--repeat N] [--folder FOLDER]

Seals the benchmark's workload into segments, as the live store does, writes them as blocks on local disk, and merges
them with `tables.merge.merge_blocks` in a process of its own. Prints spans per CPU second, bytes per span, and peak
memory; before that, what only reading and writing the same Parquet costs, without merging. With --copies the segments
come that many times, each time with other trace ids: input of any size in a minute per 100 million spans.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import workload
from tables.blocks.meta import BlockMeta, decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.columns.arrays import fixed_bytes, one_array
from tables.merge.inputs import ParquetInput
from tables.merge.merge_blocks import merge_blocks
from tables.parquet.encode_file import encode_parquet
from tables.parquet.write import to_parquet
from tables.schema import FIXED
from tables.seal import seal
from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore, RangeFile
from tables.wire.otlp.decoder import OtlpDecoder

COLUMNS_MAX: Final = 300
_REQUESTS_TOGETHER: Final = 8
_FILES_A_BLOCK: Final = 8


def segments(path: Path, spans_each: int) -> Iterator[pa.Table]:
    """The workload's spans, sealed."""
    requests, decoder = workload.Requests(path), OtlpDecoder()
    waiting: list[pa.RecordBatch] = []
    for first in range(0, len(requests), _REQUESTS_TOGETHER):
        batch = decoder.decode(requests[first : first + _REQUESTS_TOGETHER]).spans
        for at in range(0, len(batch), spans_each):
            waiting.append(batch.slice(at, spans_each))
            if sum(map(len, waiting)) >= spans_each:
                yield seal(waiting, COLUMNS_MAX)
                waiting = []
    if waiting:
        yield seal(waiting, COLUMNS_MAX)


def with_other_ids(table: pa.Table, copy: int) -> pa.Table:
    """The spans with other trace ids, sorted by them; spans of one trace stay together."""
    words = np.ascontiguousarray(fixed_bytes(one_array(table["trace_id"]))).view(np.uint64).reshape(-1, 2)
    mixed = (words * np.uint64(2 * copy + 1)) ^ np.uint64(copy * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    order = np.argsort(mixed.view("S16").reshape(-1), kind="stable")
    ids = pa.Array.from_buffers(pa.binary(16), len(mixed), [None, pa.py_buffer(np.ascontiguousarray(mixed))])
    at = table.schema.get_field_index("trace_id")
    return table.set_column(at, "trace_id", ids).take(pa.array(order))


def write_blocks(store: ObjectStore, files: list[Path], copies: int) -> list[BlockMeta]:
    """The segments as blocks of some files each."""
    metas: list[BlockMeta] = []
    ready: list[SegmentFile] = []
    for copy in range(copies):
        for path in files:
            table = pq.read_table(path)
            data: Any = pa.py_buffer(path.read_bytes()) if not copy else to_parquet(with_other_ids(table, copy))
            ready.append(SegmentFile(data, table.num_rows, 0, 1))
            if len(ready) == _FILES_A_BLOCK:
                metas.append(write_block(store, BlockRange("b", "t", 0, 1, len(metas), len(metas)), ready))
                ready = []
    if ready:
        metas.append(write_block(store, BlockRange("b", "t", 0, 1, len(metas), len(metas)), ready))
    return metas


def merge_all(folder: Path, repeat: int) -> int:
    """Merges all blocks of a folder, and prints what it took. Runs in a process of its own."""
    store = ObjectStore(StorageConfig("local", str(folder)))
    metas = [decode_meta(path, store.get(path) or b"") for path in store.paths("blocks") if path.endswith("/meta.json")]
    spans, size = sum(meta.spans for meta in metas), sum(meta.size_bytes for meta in metas)
    print(f"{spans:,} spans of {sum(len(meta.files) for meta in metas)} files, {size / 1e6:,.0f} MB", flush=True)
    for _ in range(repeat):
        begin_mb = _peak_mb()
        cpu_s, wall_s = time.process_time(), time.monotonic()
        merged, repeated = merge_blocks(store, metas, COLUMNS_MAX, folder=folder)
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        print(
            f"-> {len(merged.files)} files, {repeated} repeated: "
            f"{spans / cpu_s:,.0f} spans per CPU second ({cpu_s / spans * 1e6:.2f} us each; {wall_s:.1f} s in all), "
            f"{merged.size_bytes / merged.spans:.1f} B/span; peak {_peak_mb():,.0f} MB, {begin_mb:,.0f} MB before",
            flush=True,
        )
        shutil.rmtree(folder / merged.folder)
    return 0


def _range_file(data: Any) -> RangeFile:
    return RangeFile(_slices(data), data.size)


def parquet_alone(folder: Path, files_max: int = 8) -> int:
    """What decoding and encoding of some files costs, and prints it. Runs in a process of its own."""
    store = ObjectStore(StorageConfig("local", str(folder)))
    paths = [path for path in store.paths("blocks") if "/data-" in path][:files_max]
    took_s = dict.fromkeys(("read", "written by Arrow", "written by encode_parquet"), 0.0)
    spans = 0
    for path in paths:
        data = pa.py_buffer(store.get(path) or b"")
        rows = pq.read_metadata(pa.BufferReader(data)).num_rows
        file = ParquetInput(path, rows, partial(_range_file, data))
        spans += rows
        columns = _timed(took_s, "read", file.columns)
        table = pa.table({field.name: pa.nulls(rows, field.type) for field in FIXED} | columns)
        _timed(took_s, "written by Arrow", partial(to_parquet, table))
        _timed(took_s, "written by encode_parquet", partial(encode_parquet, table))
    print(f"Parquet alone, us a span, {len(paths)} files:", end=" ")
    print(", ".join(f"{name} {each / spans * 1e6:.2f}" for name, each in took_s.items()))
    return 0


def _slices(data: pa.Buffer) -> Callable[[Sequence[tuple[int, int]]], list[Any]]:
    return lambda ranges: [data.slice(*one) for one in ranges]


def _timed(took_s: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    began_s = time.thread_time()
    found = call()
    took_s[name] += time.thread_time() - began_s
    return found


def _peak_mb() -> float:
    """The most memory that this process has had, MB. getrusage would count what the process that started it had."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge", description=__doc__)
    parser.add_argument("--spans", type=int, default=1_000_000, help="of the workload")
    parser.add_argument("--segment-spans", type=int, default=65_536)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="merges in the same process")
    parser.add_argument("--folder", type=Path, help="for the blocks, on a real disk (default: beside the workloads)")
    parser.add_argument("--merge-only", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--parquet-alone", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.merge_only is not None:
        return merge_all(given.merge_only, given.repeat)
    if given.parquet_alone is not None:
        return parquet_alone(given.parquet_alone)
    source = workload.cached(workload.Options(spans=given.spans))
    folder = Path(tempfile.mkdtemp(prefix="merge-", dir=given.folder or workload.CACHE))
    try:
        files = []
        for number, table in enumerate(segments(source, given.segment_spans)):
            files.append(folder / f"{number}.parquet")
            files[-1].write_bytes(to_parquet(table))
        write_blocks(ObjectStore(StorageConfig("local", str(folder / "bucket"))), files, given.copies)
        command = [sys.executable, "-m", "benchmarks.merge"]
        codes = [
            subprocess.run(
                [*command, step, str(folder / "bucket"), "--repeat", str(given.repeat)], check=False
            ).returncode
            for step in ("--parquet-alone", "--merge-only")
        ]
        return max(codes)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
