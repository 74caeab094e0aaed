"""Footers without a checksum, of earlier versions or of other programs: damage there must not end the process."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tables.errors import DamagedError
from tables.merge.inputs import ParquetInput
from tables.parquet import footer_guard
from tables.parquet.decode_errors import reading
from tables.parquet.footer import END_BYTES, footer_start
from tables.parquet.footer_guard import read_guarded
from tables.parquet.open_file import open_parquet
from tables.parquet.write import to_parquet
from tables.storage.object_store import RangeFile
from tests.helpers.files import ROOT
from tests.helpers.querying.otlp_rows import make_table

STEP = 97  # of the bits of the footer; all of them take minutes
ROW = {"trace_id": b"1" * 16, "span_id": b"1" * 8, "name": "n", "start_ns": 1, "duration_ns": 1}


def test_no_bit_of_a_footer_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow throws where nothing catches it: for levels, types and codecs that do not fit."""
    monkeypatch.setattr("tables.parquet.write.with_directory", lambda data, _: data)
    path = tmp_path / "file"
    path.write_bytes(to_parquet(make_table([{**ROW, "span.a": "x", "span.list:string[]": ["a", "b"]}])))
    command = [sys.executable, "-m", "tests.helpers.blocks.flipped_footers", str(path), "1", str(STEP)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"bit {done.stdout[-20:]}: {done.stderr[-2000:]}"
    assert len(done.stdout.splitlines()) > 150


def written(table: pa.Table, **options: Any) -> bytes:
    """A file as Arrow writes it."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


def file_with(values: pa.Array, find: bytes, change: bytes) -> pa.BufferReader:
    """A file with a column `a`; some bytes of its footer are others, or fewer."""
    data = written(pa.table({"a": values}))
    start = footer_start(memoryview(data))
    assert data.count(find, start) == 1
    footer = data[start:-END_BYTES].replace(find, change)
    return pa.BufferReader(data[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


NUMBERS, IDS = pa.array([5], pa.int64()), pa.array([b"1234"], pa.binary(4))


@pytest.mark.parametrize(
    ("values", "find", "change", "said"),
    [
        # ColumnMetaData: type = 1 (INT64), encodings = 2
        (NUMBERS, b"\x15\x04\x19\x35", b"\x15\x02\x19\x35", "values of type INT32 in column 0 of type INT64"),
        (NUMBERS, b"\x15\x04\x19\x35", b"\x15\x7e\x19\x35", r"values of type \? in column 0"),
        # path_in_schema = 3, codec = 4 (SNAPPY)
        (NUMBERS, b"\x18\x01a\x15\x02\x16", b"\x18\x01a\x15\x7e\x16", "column, number 0, of an unknown codec"),
        # Statistics: max_value = 5, min_value = 6
        (IDS, b"\x28\x041234\x18\x041234", b"\x28\x041234\x18\x03123", "statistics with shorter values than column 0"),
    ],
)
def test_what_is_said(values: pa.Array, find: bytes, change: bytes, said: str) -> None:
    read_guarded("file", file_with(values, find, find))
    with pytest.raises(DamagedError, match=said):
        read_guarded("file", file_with(values, find, change))


WIDE = pa.table({f"column {number}": [number] for number in range(40)})
LISTS = pa.table({"a.b": [["x", "y" * 200], []], "c": [b"1", None], "d": [{"e": 1, "f": [True]}, None]})


@pytest.mark.parametrize(
    "data",
    [
        to_parquet(make_table([{**ROW, "span.a": "x" * 150, "span.list:string[]": ["a", "b"], "span.b:int": 5}])),
        written(WIDE),
        written(WIDE.slice(0, 0)),
        written(LISTS, write_page_index=True),
        written(LISTS, use_dictionary=False, write_statistics=False, compression="zstd", version="1.0"),
    ],
    ids=["spans", "wide", "no rows", "lists", "plain"],
)
def test_the_pattern_knows_what_is_written(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such footers are not read field by field."""

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(footer_guard, "_row_groups", fail)
    assert read_guarded("file", pa.BufferReader(data)).equals(pq.read_metadata(pa.BufferReader(data)))


def test_the_pattern_takes_nothing_that_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever bit is another one: what it takes, the check of the fields takes, too."""
    good = bytes(to_parquet(make_table([{**ROW, "span.list:string[]": ["a", "b"]}])))
    taken = 0
    for bit in range(8 * footer_start(memoryview(good)), 8 * (len(good) - END_BYTES), 13):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        if not accepts(bytes(data), monkeypatch, looks_right=None):
            continue
        taken += 1
        assert accepts(bytes(data), monkeypatch, looks_right=False), bit
    assert taken > 100


def accepts(data: bytes, monkeypatch: pytest.MonkeyPatch, *, looks_right: bool | None) -> bool:
    """Whether the footer is taken: by the pattern alone, or field by field."""
    with monkeypatch.context() as patch:
        if looks_right is None:
            patch.setattr(footer_guard, "_row_groups", refuse)
        else:
            patch.setattr(footer_guard, "looks_right", lambda *_: looks_right)
        try:
            with reading("file", "cannot be opened"):
                read_guarded("file", pa.BufferReader(data))
        except DamagedError:
            return False
    return True


def refuse(_: bytes) -> None:
    raise ValueError


def spied(data: bytes) -> tuple[Callable[[], RangeFile], list[Sequence[tuple[int, int]]]]:
    """A file, and what is read of it."""
    asked: list[Sequence[tuple[int, int]]] = []

    def read_ranges(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        asked.append(ranges)
        return [data[start : start + length] for start, length in ranges]

    return lambda: RangeFile(read_ranges, len(data)), asked


@pytest.mark.parametrize("is_own", [False, True])
def test_a_footer_is_read_once(is_own: bool) -> None:
    """For the check and for Arrow."""
    data = bytes(to_parquet(make_table([ROW])))
    open_file, asked = spied(data)
    open_parquet("file", open_file, None, is_own=is_own)
    assert asked == [[(0, len(data))]]


def test_a_merge_reads_a_footer_once() -> None:
    data = bytes(to_parquet(make_table([ROW])))
    open_file, asked = spied(data)
    file = ParquetInput("file", 1, open_file)
    assert file.columns()["span_id"].to_pylist() == [b"1" * 8]
    assert asked == [[(0, len(data))]]
    asked.clear()
    assert set(file.sample(1).ids.tolist()) == {b"1" * 16}
    assert asked[0] == [(0, len(data))]
    assert all(start + length <= footer_start(memoryview(data)) for [(start, length)] in asked[1:])


def test_a_large_footer_is_read_in_two() -> None:
    """Of a small part of a large file, nobody knows before how large it is."""
    data = written(pa.table({f"{number:0300}": [number] for number in range(400)}))
    open_file, asked = spied(data)
    assert read_guarded("file", open_file()).num_columns == 400
    start = footer_start(memoryview(data))
    assert len(data) - start > 64 << 10
    assert asked == [[(len(data) - (64 << 10), 64 << 10)], [(start, len(data) - start)]]
