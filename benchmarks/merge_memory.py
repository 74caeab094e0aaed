"""Peak memory of a merge against the size of its input.

    python -m benchmarks.merge_memory --gigabytes 0.1 0.5 1
    python -m benchmarks.merge_memory --gigabytes 1 3 5 --value-bytes 96

The input is blocks as a compactor has written them: copies of one merged block, each with other trace ids, which lie
between those of all other copies. A copy costs some milliseconds, as only its ids are written anew. Each size is merged
in a process of its own, on local disk, and deleted afterwards; there must be room for three times the largest size.
With --value-bytes each span has a value of so many random characters besides, so that gigabytes take fewer spans.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from zlib_ng import zlib_ng

from benchmarks import workload
from benchmarks.merge import COLUMNS_MAX, segments
from tables.blocks.meta import BlockMeta, decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.columns.varint import varint, zigzag
from tables.merge.merge_blocks import merge_blocks
from tables.parquet.write import to_parquet
from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore

_SEGMENT_ROWS: Final = 65_536
_ID_BYTES: Final = 16


def template(source: Path, folder: Path, value_bytes: int) -> list[bytes]:
    """The files of one merged block."""
    random = np.random.default_rng(1)
    files = []
    for table in segments(source, _SEGMENT_ROWS):
        rows = table.num_rows
        if value_bytes:
            text = random.bytes(-(-rows * value_bytes // 2)).hex()[: rows * value_bytes]
            ends = pa.array(np.arange(rows + 1, dtype=np.int32) * value_bytes)
            values = pa.StringArray.from_buffers(rows, ends.buffers()[1], pa.py_buffer(text.encode()))
            table = table.append_column("span.bench.value", values)
        files.append(SegmentFile(to_parquet(table), rows, 0, 1))
    store = ObjectStore(StorageConfig("local", str(folder)))
    block = write_block(store, BlockRange("template", "t", 0, 1, 0, 0), files)
    merged = merge_blocks(store, [block], COLUMNS_MAX, folder=folder).meta
    return [store.get(merged.path_of(file)) or b"" for file in merged.files]


def with_other_ids(data: bytes, salt: int) -> bytes:
    """A file of the merge, whose trace ids have another second half each, so that their order stays."""
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0)
    if chunk.path_in_schema != "trace_id" or chunk.compression != "UNCOMPRESSED" or not chunk.has_dictionary_page:
        raise RuntimeError("the trace ids do not lie in the file as they are")
    head = data[chunk.dictionary_page_offset :][:64]
    places = [0]  # of the page header's numbers: type, two sizes, the checksum
    for _ in range(4):
        places.append(places[-1] + 1 + next(n for n, byte in enumerate(head[places[-1] + 1 :], 1) if byte < 0x80))
    low, high = chunk.statistics.min, chunk.statistics.max
    first = data.index(low, chunk.dictionary_page_offset)
    count = (data.index(high, first) + _ID_BYTES - first) // _ID_BYTES
    words = np.frombuffer(data, np.uint64, 2 * count, first).reshape(-1, 2)
    random = np.random.default_rng(salt)
    size = places[4] - places[3] - 1
    while True:
        mask = random.integers(1 << 63, dtype=np.uint64)
        body = np.ascontiguousarray(np.stack([words[:, 0], words[:, 1] ^ mask], axis=1)).tobytes()
        crc = zlib_ng.crc32(body)
        check = varint(zigzag(crc - (crc >> 31 << 32)))
        if len(check) == size:
            break
    made = bytearray(data)
    made[first : first + len(body)] = body
    at = chunk.dictionary_page_offset + places[3] + 1
    made[at : at + size] = check
    end = first + len(body)
    for old, new in ((low, body[:_ID_BYTES]), (high, body[-_ID_BYTES:])):
        made[end:] = made[end:].replace(old, new)
    return bytes(made)


def write_input(store: ObjectStore, files: Sequence[bytes], size_bytes: float) -> list[BlockMeta]:
    """Blocks of so many bytes together."""
    metas: list[BlockMeta] = []
    while sum(meta.size_bytes for meta in metas) < size_bytes:
        number = len(metas)
        made = [
            SegmentFile(with_other_ids(data, number), pq.read_metadata(pa.BufferReader(data)).num_rows, 0, 1)
            for data in files
        ]
        metas.append(write_block(store, BlockRange("b", "t", 0, 1, number, number), made))
    return metas


def merge_some(folder: Path, size_bytes: float) -> int:
    """Merges the first blocks of a folder, and prints what it took. Runs in a process of its own."""
    store = ObjectStore(StorageConfig("local", str(folder)))
    found = [decode_meta(path, store.get(path) or b"") for path in store.paths("blocks") if path.endswith("meta.json")]
    metas: list[BlockMeta] = []
    for meta in sorted((one for one in found if not one.level), key=lambda one: one.first_offset):
        if sum(one.size_bytes for one in metas) < size_bytes:
            metas.append(meta)
    size, spans = sum(meta.size_bytes for meta in metas), sum(meta.spans for meta in metas)
    text = f"{size / 1e9:.2f} GB, {len(metas)} blocks, {sum(len(meta.files) for meta in metas)} files, {spans:,} spans"
    print(f"{text}: {_status_mb('VmHWM'):.0f} MB before", flush=True)
    files, began_s, resident = 0, time.process_time(), [0.0]

    def progress() -> bool:
        nonlocal files
        files += 1
        resident.append(_status_mb("VmRSS"))
        if files & (files - 1) == 0 or files % 50 == 0:
            print(f"  file {files}: {resident[-1]:.0f} MB now, {_status_mb('VmHWM'):.0f} MB at most", flush=True)
        return False

    merged, repeated = merge_blocks(store, metas, COLUMNS_MAX, folder=folder, is_cancelled=progress)
    cpu_s = time.process_time() - began_s
    print(
        f"{text} -> {len(merged.files)} files, {repeated} repeated: {_status_mb('VmHWM'):.0f} MB at most; "
        f"{spans / cpu_s:,.0f} spans per CPU second",
        flush=True,
    )
    shutil.rmtree(folder / merged.folder)
    return 0


def _status_mb(name: str) -> float:
    """VmRSS: resident now; VmHWM: the most that it was."""
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")) / 1024


def main(argv: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge_memory", description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.1, 0.5, 1.0], help="of input, several sizes")
    parser.add_argument("--value-bytes", type=int, default=0, help="of a further random value of each span")
    parser.add_argument("--spans", type=int, default=524_288, help="of a block")
    parser.add_argument("--folder", type=Path, help="for the blocks, on a real disk (default: beside the workloads)")
    parser.add_argument("--merge-only", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.merge_only is not None:
        return merge_some(given.merge_only, 1e9 * given.gigabytes[0])
    source = workload.cached(workload.Options(spans=given.spans))
    folder = Path(tempfile.mkdtemp(prefix="merge-memory-", dir=given.folder or workload.CACHE))
    try:
        files = template(source, folder / "template", given.value_bytes)
        write_input(ObjectStore(StorageConfig("local", str(folder / "bucket"))), files, 1e9 * max(given.gigabytes))
        command: list[Any] = [sys.executable, "-m", "benchmarks.merge_memory", "--merge-only", str(folder / "bucket")]
        return max(
            subprocess.run([*command, "--gigabytes", str(size)], check=False).returncode for size in given.gigabytes
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
