"""Footers without a checksum, of earlier versions or of other programs: damage there must not end the process."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tables.errors import DamagedError
from tables.parquet.footer import footer_start
from tables.parquet.footer_guard import read_guarded
from tables.parquet.write import to_parquet
from tests.helpers.files import ROOT
from tests.helpers.otlp_rows import make_table

STEP = 29  # of the bits of the footer; all of them take a minute


def test_no_bit_of_a_footer_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow throws where nothing catches it: for levels, types and codecs that do not fit."""
    monkeypatch.setattr("tables.parquet.write.with_directory", lambda data, _: data)
    row = {"trace_id": b"1" * 16, "span_id": b"1" * 8, "name": "n", "start_ns": 1, "duration_ns": 1}
    path = tmp_path / "file"
    path.write_bytes(to_parquet(make_table([{**row, "span.a": "x", "span.list:string[]": ["a", "b"]}])))
    command = [sys.executable, "-m", "tests.helpers.flipped_footers", str(path), "1", str(STEP)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"bit {done.stdout[-20:]}: {done.stderr[-2000:]}"
    assert len(done.stdout.splitlines()) > 500


def file_with(find: bytes, change: bytes, **options: object) -> pa.BufferReader:
    """A file with one column of one integer; some bytes of its footer are others."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": pa.array([5], pa.int64())}), sink, **options)
    data = sink.getvalue().to_pybytes()
    start = footer_start(memoryview(data))
    assert data.count(find, start) == 1
    return pa.BufferReader(data[:start] + data[start:].replace(find, change))


@pytest.mark.parametrize(
    ("find", "change", "said"),
    [
        # ColumnMetaData: type = 1 (INT64), encodings = 2
        (b"\x15\x04\x19\x35", b"\x15\x02\x19\x35", "values of type INT32 in column 0 of type INT64"),
        (b"\x15\x04\x19\x35", b"\x15\x7e\x19\x35", r"values of type \? in column 0"),
        # path_in_schema = 3, codec = 4 (SNAPPY)
        (b"\x18\x01a\x15\x02\x16", b"\x18\x01a\x15\x7e\x16", "column, number 0, of an unknown codec"),
    ],
)
def test_what_is_said(find: bytes, change: bytes, said: str) -> None:
    read_guarded("file", file_with(find, find))
    with pytest.raises(DamagedError, match=said):
        read_guarded("file", file_with(find, change))
