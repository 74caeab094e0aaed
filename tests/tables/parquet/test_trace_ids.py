"""The index of a file's traces is that of its column of trace ids, however the pages are written."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tables.columns.arrays import one_array
from tables.columns.trace_index import TraceIndex, trace_index
from tables.errors import DamagedError
from tables.parquet.directory import with_directory
from tables.parquet.encode_file import encode_rows
from tables.parquet.read import ParquetSource
from tables.parquet.trace_ids import trace_index_of_pages
from tables.parquet.write import written_by_arrow
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tables.storage.object_store import RangeFile


def table_of(traces: Sequence[int]) -> pa.Table:
    """So many spans of each trace, with the columns that a source must have left out."""
    ids = np.repeat(np.random.default_rng(1).bytes(16 * len(traces)), 1)
    halves = np.frombuffer(ids[0], "S16") if len(traces) else np.empty(0, "S16")
    ordered = np.sort(np.array([one.ljust(16, b"\x01") for one in halves.tolist()], "S16"))
    of_rows = np.repeat(ordered, traces)
    column = pa.Array.from_buffers(pa.binary(16), len(of_rows), [None, pa.py_buffer(of_rows)])
    return pa.table({"trace_id": column, "start_ns": np.arange(len(of_rows))})


def source_of(data: Any, table: pa.Table, reads: list[Any], *, traces: int = 0) -> ParquetSource:
    view = memoryview(data).cast("B")

    def read_ranges(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        reads.append(list(ranges))
        return [bytes(view[start : start + length]) for start, length in ranges]

    def open_file() -> RangeFile:
        return RangeFile(read_ranges, len(view))

    source = ParquetSource("f", open_file, ByteCache("test", 1 << 24), table.num_rows, tail=tail_of(data))
    source.known_trace_count = traces
    return source


def is_same(found: TraceIndex, wanted: TraceIndex) -> bool:
    same = found.ids.dtype == wanted.ids.dtype and found.offsets.dtype == wanted.offsets.dtype
    return same and found.ids.tolist() == wanted.ids.tolist() and found.offsets.tolist() == wanted.offsets.tolist()


counts = st.lists(st.one_of(st.integers(1, 3), st.integers(1, 200)), min_size=1, max_size=700)


@given(counts, st.integers(1, 3000), st.booleans())
@example([20] * 400, 512, True)
@example([9000, 1, 300], 512, True)
def test_equals_that_of_the_column(traces: list[int], page_rows: int, by_hand: bool) -> None:
    """Traces that end with a page, and that go on in the next ones; with its end known before, and in one request."""
    table = table_of(traces)
    written = encode_rows(table, {}, page_rows) if by_hand else written_by_arrow(table, {}, page_rows)
    data, wanted = with_directory(written, table), trace_index(one_array(table["trace_id"]))
    for known in (0, len(wanted.ids)):
        reads: list[Any] = []
        assert is_same(source_of(data, table, reads, traces=known).traces(), wanted)


@pytest.mark.parametrize("traces", [[20] * 2000, [1, 100] * 300])
def test_merged_files_have_runs(traces: list[int]) -> None:
    """Which are read as they are, at once with the end of the file, and take a fraction of the bytes of codes."""
    table = table_of(traces)
    data = with_directory(encode_rows(table, {}, 4096), table)
    reads: list[Any] = []
    source = source_of(data, table, reads, traces=len(traces))
    assert is_same(source.traces(), trace_index(one_array(table["trace_id"])))
    assert len(reads) == 1
    directory = source._end.directory(table.num_rows)
    assert directory is not None
    place = directory.leaf(0, b"")
    chunk = memoryview(data).cast("B")[place.start : place.start + place.size_bytes]
    assert trace_index_of_pages(chunk, place, table.num_rows) is not None
    assert place.size_bytes < 22 * len(traces) + 1000


def test_more_than_was_expected_is_read_besides() -> None:
    """Of files whose trace ids take more than those of merged files."""
    table = table_of([2] * 3000)
    data = with_directory(written_by_arrow(table, {}, 4096), table)
    reads: list[Any] = []
    found = source_of(data, table, reads, traces=10).traces()
    assert is_same(found, trace_index(one_array(table["trace_id"])))
    (_, end), (rest,) = reads
    assert rest[0] > 4
    assert end[0] > rest[0]


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_changed_bit_is_noticed(at: float, bit: int) -> None:
    table = table_of([20] * 500)
    data = bytearray(memoryview(with_directory(encode_rows(table, {}, 4096), table)))
    whole = source_of(bytes(data), table, [], traces=500)
    wanted, directory = whole.traces(), whole._end.directory(table.num_rows)
    assert directory is not None
    place, tail = directory.leaf(0, b""), tail_of(bytes(data))
    data[place.start + int(at * place.size_bytes)] ^= 1 << bit
    source = source_of(bytes(data), table, [], traces=500)
    assert source._end._tail == tail
    try:
        found = source.traces()
    except DamagedError:
        return
    assert is_same(found, wanted)  # a bit of a page's header that means nothing
