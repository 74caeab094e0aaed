"""Inputs that few write, and that every merge must take."""

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tables.errors import DamagedError
from tables.merge import merge as merge_module
from tables.merge.attributes import Attributes
from tables.merge.columns import Part
from tables.merge.inputs import ParquetInput
from tables.merge.merge import MergedFile, merge
from tables.merge.rows import _columns as merged_columns
from tables.parquet.write import to_parquet
from tables.schema import FIXED
from tests.helpers.files import file_of


def table_of(spans: Sequence[tuple[int, int]], **columns: Any) -> pa.Table:
    """Rows of (trace, span), sorted, with further columns."""
    rows = len(spans)
    ids = {
        "trace_id": pa.array([trace.to_bytes(16, "big") for trace, _ in spans], pa.binary(16)),
        "span_id": pa.array([span.to_bytes(8, "big") for _, span in spans], pa.binary(8)),
        "parent_span_id": pa.array([bytes(8)] * rows, pa.binary(8)),
        "start_ns": pa.array([100 + span for _, span in spans], pa.int64()),
    }
    for field in FIXED:
        if field.name not in ids:
            ids[field.name] = pa.array([""] * rows if field.type == pa.string() else [0] * rows, field.type)
    return pa.table({field.name: ids[field.name] for field in FIXED} | columns)


def source(data: Any, rows: int) -> ParquetInput:
    return ParquetInput("file", rows, lambda: file_of(data))


def merged(tables: Sequence[pa.Table], columns_max: int = 1000, file_rows: int = 1000) -> list[MergedFile]:
    return list(merge([source(to_parquet(table), table.num_rows) for table in tables], columns_max, file_rows))


def read(files: Sequence[MergedFile]) -> pa.Table:
    return pa.concat_tables(
        [pq.read_table(pa.BufferReader(one.data)) for one in files], promote_options="default"
    ).combine_chunks()


def spans(table: pa.Table) -> list[tuple[int, int]]:
    pairs = zip(table["trace_id"].to_pylist(), table["span_id"].to_pylist(), strict=True)
    return [(int.from_bytes(trace, "big"), int.from_bytes(span, "big")) for trace, span in pairs]


def test_a_trace_is_never_parted() -> None:
    """Though it is larger than a file, and lies in all inputs."""
    rows = [[(1, n), (5, n), *((5, 100 * n + m) for m in range(20)), (9, n)] for n in range(1, 6)]
    files = merged([table_of(one) for one in rows], 9, 10)
    ids = [one.trace_ids.tolist() for one in files]
    assert len(files) > 1
    assert [each for one in ids for each in one] == [n.to_bytes(16, "big") for n in (1, 5, 9)]
    assert sum(one.spans for one in files) == 115
    assert read(files)["nested_left"].to_pylist()[5:110] == list(range(1, 211, 2))


def test_no_rows() -> None:
    """An input without rows is not opened; without any rows there are no files."""

    def fail() -> Any:
        raise AssertionError

    empty = ParquetInput("empty", 0, fail)
    table = table_of([(1, 1)])
    assert [one.spans for one in merge([empty, source(to_parquet(table), 1), empty])] == [1]
    assert list(merge([empty])) == []
    assert list(merge([])) == []


def test_raw_spans_stay_raw() -> None:
    """Beside files that have none."""
    raw = {"raw": pa.array([b"span", None]), "raw_owner": pa.array([b"owner", None]).dictionary_encode()}
    table = read(merged([table_of([(2, 1), (2, 2)], **raw), table_of([(1, 1), (3, 1)])]))
    assert spans(table) == [(1, 1), (2, 1), (2, 2), (3, 1)]
    assert table["raw"].to_pylist() == [None, b"span", None, None]
    assert table["raw_owner"].to_pylist() == [None, b"owner", None, None]


def test_files_of_earlier_versions() -> None:
    """Without page indexes, checksums, or an order beyond the start; null where "" is written now."""
    old = table_of([(1, 2), (1, 1), (2, 1)], resource_schema_url=pa.array([None, "u", "u"]))
    old = old.set_column(old.schema.get_field_index("start_ns"), "start_ns", pa.array([7, 7, 8]))
    sink = pa.BufferOutputStream()
    pq.write_table(old, sink, compression="snappy", store_schema=False)
    new = table_of([(1, 3), (3, 1)], trace_state=pa.array(["s", ""]))
    files = list(merge([source(sink.getvalue(), 3), source(to_parquet(new), 2)]))
    table = read(files)
    assert spans(table) == [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]
    assert table["resource_schema_url"].to_pylist() == ["u", "", "", "u", ""]
    assert table["trace_state"].to_pylist() == ["", "", "s", "", ""]
    assert table["nested_left"].to_pylist() == [1, 3, 5, 0, 0]  # only joined traces get new facts


@pytest.mark.parametrize("counts", [(100, 100), (100, 200), (200, 100, 40_000), (3, 40_000), (40_000, 40_000)])
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("held_bytes_max", [0, 1 << 30])
def test_dictionaries_of_any_size(counts: Sequence[int], same: bool, held_bytes_max: int) -> None:
    """Indices are as narrow as they can be, in each input and in the merged file; one input has not the column."""
    tables, wanted = [], {}
    for number, count in enumerate(counts):
        ids = [(trace * 4 + number + 1, span) for trace in range(count) for span in (1, 2)]
        texts = [f"text {trace if same else (number, trace)}" for trace in range(count)]
        column = pa.array(np.repeat(np.arange(count, dtype=np.int32), 2))
        tables.append(table_of(ids, **{"span.k": pa.DictionaryArray.from_arrays(column, pa.array(texts))}))
        wanted |= {one: texts[row // 2] for row, one in enumerate(ids)}
    tables.append(table_of([(4, 1)]))
    wanted[4, 1] = None
    with patch.object(merge_module, "_HELD_BYTES_MAX", held_bytes_max):
        files = merged(tables, file_rows=30_000)
    table = read(files)
    assert spans(table) == sorted(wanted)
    assert table["span.k"].to_pylist() == [wanted[one] for one in sorted(wanted)]


def test_more_inputs_than_one_pass_takes(tmp_path: Path) -> None:
    """Nothing is left on disk; what came twice is counted once, in whichever pass it was found."""
    tables = [table_of([(n % 50 + 1, n // 50 + 1), (60, 1)]) for n in range(150)]
    inputs = [source(to_parquet(table), 2) for table in tables]
    with patch.object(merge_module, "_INPUTS_MAX", 8), patch.object(merge_module, "_HELD_BYTES_MAX", 0):
        files = list(merge(inputs, 100, 40, tmp_path))
    assert spans(read(files)) == [*((trace, span) for trace in range(1, 51) for span in (1, 2, 3)), (60, 1)]
    assert sum(one.repeated for one in files) == 149
    assert len(files) > 2
    assert list(tmp_path.iterdir()) == []


def test_what_waits_is_removed_when_nobody_wants_the_rest(tmp_path: Path) -> None:
    """As when the merge is cancelled."""
    inputs = [source(to_parquet(table_of([(n + 4 * m + 1, 1) for m in range(20)])), 20) for n in range(4)]
    with patch.object(merge_module, "_HELD_BYTES_MAX", 0):
        files = merge(inputs, 100, 10, tmp_path)
        next(files)
        assert list(tmp_path.iterdir())
        files.close()  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_is_not_what_its_meta_says() -> None:
    """Another number of rows, or no Parquet at all."""
    data = to_parquet(table_of([(1, 1)]))
    with pytest.raises(DamagedError, match="has 1 rows of 2"):
        list(merge([source(data, 2)]))
    with pytest.raises(DamagedError, match="file cannot be read"):
        list(merge([source(pa.py_buffer(b"garbage"), 2)]))


def test_the_rarest_attributes_of_the_whole_go_to_the_overflow() -> None:
    """Not those of one range: a column that an input has often stays one in every file."""
    often = {"span.often": pa.array(["a"] * 10), "span.rare": pa.array([None] * 9 + ["r"])}
    files = merged([table_of([(n, 1) for n in range(1, 11)], **often), table_of([(99, 1)])], 1, 4)
    for one in files[:-1]:
        assert "span.often" in pq.read_schema(pa.BufferReader(one.data)).names
    table = read(files)
    assert "span.rare" not in table.column_names
    assert [entry["column"] for lists in table["overflow"].to_pylist() for entry in lists or []] == ["span.rare"]


def test_many_columns_make_smaller_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory each row has a code in each column, with a value or without; in the files it takes nothing."""
    rows, columns = 4_000, 400
    wide = {f"span.k{n:03d}": pa.array([None] * n + ["v"] + [None] * (rows - n - 1)) for n in range(columns)}
    tables = [table_of([(n, 1) for n in range(rows)], **wide), table_of([(n, 2) for n in range(rows)], **wide)]
    for columns_max, cells_a_row in ((columns, columns), (50, 50)):
        monkeypatch.setattr(merge_module, "_DECODED_BYTES", 1 << 20)
        files = merged(tables, columns_max, 100_000)
        at_most = (1 << 20) / (cells_a_row + len(FIXED)) / (9 / 8)
        assert 0.4 * at_most < 2 * rows / len(files) <= at_most
        monkeypatch.setattr(merge_module, "_DECODED_BYTES", 1 << 30)
        assert len(merged(tables, columns_max, 100_000)) == 1
        assert spans(read(files)) == [(n, m) for n in range(rows) for m in (1, 2)]


def test_rare_attributes_take_memory_for_their_values_only() -> None:
    """Not for each row, of which there may be hundreds of thousands, and thousands of such attributes."""
    rows, names = 40_000, [f"span.k{n:03d}" for n in range(500)]

    def column(at: int) -> Any:
        codes = np.zeros(rows, np.int8)
        return pa.DictionaryArray.from_arrays(pa.array(codes, mask=np.arange(rows) != at), ["v"])

    parts = [
        Part({"trace_id": table_of([(1, 1)])["trace_id"].chunk(0).take(pa.array(np.zeros(rows, np.int8)))}
             | {name: column(at) for at, name in enumerate(names)}, whole=True)
        for _ in range(2)
    ]  # fmt: skip
    tracemalloc.start()
    columns = merged_columns(parts, np.arange(2 * rows), Attributes(parts, frozenset(names)))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert columns["overflow"].null_count == 0
    assert len(columns["overflow"].values) == 2 * len(names)
    assert peak_bytes < 8_000_000  # 45 MB with a code for each row
