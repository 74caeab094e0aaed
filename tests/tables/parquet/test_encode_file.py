"""Files whose pages are written by hand are read as those that Arrow writes of the same table."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.columns.arrays import take_rows
from tables.parquet.directory import directory_of_tail, read_directory, with_directory
from tables.parquet.encode_column import encode_flat
from tables.parquet.encode_file import encode_parquet, encode_rows
from tables.parquet.encode_lists import encode_sparse_lists
from tables.parquet.flat_levels import FlatLevels
from tables.parquet.pages import Pages, _by_directory
from tables.parquet.read_whole import read_whole
from tables.parquet.write import key_values, with_statistics, written_by_arrow
from tables.schema import EVENT, LINK
from tables.storage.checksum import tail_of
from tests.helpers.blocks.parquet_files import bits, plain, source_of, span_tables
from tests.helpers.files import file_of
from tests.query.golden import load_table

NAN = float("nan")


def statistics_of(file: pq.ParquetFile, number: int) -> Any:
    found = file.metadata.row_group(0).column(number).statistics
    if found is None:
        return None
    bounds = (repr(found.min), repr(found.max)) if found.has_min_max else None
    return found.null_count, bounds


def pages_by_directory(data: pa.Buffer, table: pa.Table) -> Pages:
    whole = with_directory(data, table)
    tail = whole.slice(whole.size - tail_of(whole).size_bytes)
    directory = directory_of_tail(tail)
    assert directory is not None
    found = _by_directory(tail.to_pybytes(), directory)
    assert found is not None
    return found


def test_a_dictionary_that_grew_too_large_has_pages_of_both_kinds() -> None:
    """Arrow writes them, and they are compressed one by one."""
    rows = 14_000
    events = [
        {"time_ns": n, "name": f"{n:06d} {'x' * 120}", "attributes": [{"key": "k", "int_value": n}]}
        for n in range(rows)
    ]
    table = pa.table({"events": pa.array([[one] for one in events], pa.list_(EVENT))})
    data = encode_rows(table, {}, 5000)
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    names = next(
        leaf for n in range(9) if (leaf := file.metadata.row_group(0).column(n)).path_in_schema.endswith("name")
    )
    assert {"PLAIN", "RLE_DICTIONARY"} <= set(names.encodings)
    assert file.read().equals(table)
    assert read_whole(pa.py_buffer(data), file.metadata, ())["events"].equals(table["events"].chunk(0))


@given(span_tables(), st.integers(1, 20))
def test_is_read_as_arrows_own(table: pa.Table, page_rows: int) -> None:
    """Types, values, bounds and sort order of the footer, and the rows of single pages."""
    metadata = key_values({"a": "b"})
    data, arrows = encode_rows(table, metadata, page_rows), written_by_arrow(table, metadata, page_rows)
    files = [pq.ParquetFile(pa.BufferReader(each), page_checksum_verification=True) for each in (data, arrows)]
    found, wanted = (file.read() for file in files)
    assert found.schema == wanted.schema
    for name in table.column_names:
        assert bits(found[name].combine_chunks()).equals(bits(wanted[name].combine_chunks())), name
    own, other = (file.metadata.row_group(0) for file in files)
    assert own.sorting_columns == other.sorting_columns
    assert files[0].metadata.metadata == files[1].metadata.metadata
    for number in range(files[0].metadata.num_columns):
        assert own.column(number).num_values == other.column(number).num_values
        assert own.column(number).path_in_schema == other.column(number).path_in_schema
        assert statistics_of(files[0], number) == statistics_of(files[1], number)
        assert own.column(number).has_offset_index
    source = source_of(data, table.num_rows)
    pages = source._pages()
    found_places = pages_by_directory(data, table)
    assert (found_places.starts, found_places.columns) == (pages.starts, pages.columns)
    assert pages.starts == (*range(0, table.num_rows, page_rows), table.num_rows)
    for first in range(0, table.num_rows, 7):
        end = min(first + 9, table.num_rows)
        cut = pages.cut(list(pages.columns), pages.around(first, end), source._ranges)
        start = first - pages.starts[pages.around(first, end)[0]]
        rows = pq.read_table(pa.BufferReader(cut)).slice(start, end - first)
        for name in pages.columns:
            part = wanted[name].slice(first, end - first).combine_chunks()
            assert bits(rows[name].combine_chunks()).equals(bits(part)), name


@given(span_tables(), st.data())
def test_take_rows_is_arrows_take(table: pa.Table, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, table.num_rows - 1))), np.int64)
    for name in table.column_names:
        array = table[name].combine_chunks()
        array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
        found = take_rows(array, rows)
        found.validate(full=True)
        assert found.type == array.type
        wanted = array.take(pa.array(rows))
        assert bits(plain(found)).equals(bits(plain(wanted))), name


def test_bounds_are_those_of_the_rows() -> None:
    """A dictionary may have values that no row has, and there are several zeros."""
    name = pa.DictionaryArray.from_arrays(pa.array([1, None, 2]), pa.array(["a", "b", "c", "d"]))
    table = pa.table({"name": name, "span.x:double": [0.0, NAN, -0.0], "span.n:int": pa.array([None] * 3, pa.int64())})
    group = pq.read_metadata(pa.BufferReader(encode_rows(table, {}, 2))).row_group(0)
    found = [group.column(number).statistics for number in range(3)]
    assert [(each.has_min_max, each.null_count) for each in found] == [(True, 1), (True, 0), (False, 3)]
    assert (found[0].min, found[0].max) == ("b", "c")
    assert (repr(found[1].min), repr(found[1].max)) == ("-0.0", "0.0")


def test_bounds_of_numbers_in_runs() -> None:
    """Such as the facts of a trace: only one of each run is looked at. So are all values of whole dictionaries."""
    runs = np.repeat(np.arange(500) * 37 % 91, 30)
    text = np.array([f"{number:02}" for number in range(91)])
    table = pa.table(
        {"trace_start_ns": runs, "nested_left": pa.array(runs, pa.int32()), "kind": pa.array(runs, pa.int8())}
    )
    table = table.append_column("name", pa.DictionaryArray.from_arrays(pa.array(runs), pa.array(text)))
    data = encode_rows(table, {}, 4096, all_used=True)
    assert pq.read_table(pa.BufferReader(data)).to_pydict() == table.to_pydict()
    group = pq.read_metadata(pa.BufferReader(data)).row_group(0)
    bounds = {group.column(n).path_in_schema: group.column(n).statistics for n in (0, 2, 3)}
    assert {name: (one.min, one.max) for name, one in bounds.items()} == {
        "trace_start_ns": (0, 90),
        "kind": (0, 90),
        "name": ("00", "90"),
    }


@pytest.mark.parametrize("size", [pytest.param(64, id="identifiers"), pytest.param(1 << 18, id="large values")])
def test_large_values_are_left_to_arrow(size: int) -> None:
    """It begins new pages where they need it."""
    texts = pa.array([f"{number:04}" * (size // 4) for number in range(40)])
    events = [
        [{"time_ns": 1, "name": text, "attributes": [], "dropped_attributes_count": 0}] for text in texts.to_pylist()
    ]
    lists = pa.array([*events, *[[]] * 60], pa.list_(EVENT))
    assert (encode_flat(texts, FlatLevels([0, 40]), with_statistics=False) is None) == (size > 64)
    assert (encode_sparse_lists(lists, [0, 100]) is None) == (size > 64)
    for name, values in ("span.text", texts), ("events", lists):
        data = encode_rows(pa.table({name: values}), {}, 12_288)
        assert pq.read_table(pa.BufferReader(data))[name].to_pylist() == values.to_pylist()


def large_table(rows: int) -> pa.Table:
    """Each kind of column once; 3 to 40,000 distinct values."""
    number = np.arange(rows)
    few = [None, "", "é", "word"]
    ids = np.stack([number // 5, number // 5], axis=1).astype(">u8").tobytes()
    tags = [["x", None, "y"] if n % 50 == 0 else None for n in number.tolist()]
    event = {"time_ns": 5, "name": "e", "attributes": [{"key": "k", "int_value": 1}], "dropped_attributes_count": 2}
    return pa.table(
        {
            "trace_id": pa.Array.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(ids)]),
            "start_ns": pa.array(number),
            "kind": pa.array(number % 6, pa.int8()),
            "trace_start_ns": pa.array(number // 5),
            "span.few": pa.array([few[n % 4] for n in number.tolist()]),
            "span.many": pa.array(number % 40_000).cast(pa.string()).dictionary_encode(),
            "span.unique": pa.array(number + 1_000_000).cast(pa.string()),
            "span.n:int": pa.array(number % 300, mask=number % 3 == 0),
            "span.tags:string[]": pa.array(tags, pa.list_(pa.string())),
            "events": pa.array([[event] * (n % 40 // 38) for n in number.tolist()], pa.list_(EVENT)),
            "links": pa.array([[]] * rows, pa.list_(LINK)),
        }
    )


def test_other_readers(tmp_path: Path) -> None:
    """DuckDB and polars see the same values, with files of several pages and all widths of codes."""
    table = large_table(50_000)
    data = encode_parquet(table)
    path = tmp_path / "file.parquet"
    path.write_bytes(data)
    wanted = pq.read_table(pa.BufferReader(data)).to_pylist()
    assert wanted == pa.table({name: plain(table[name].combine_chunks()) for name in table.column_names}).to_pylist()
    assert pl.read_parquet(path).to_arrow().to_pylist() == wanted
    connection = duckdb.connect()
    assert connection.sql(f"SELECT * FROM '{path}'").to_arrow_table().to_pylist() == wanted
    assert connection.execute(f"SELECT count(*) FROM '{path}' WHERE start_ns >= 49990").fetchall() == [(10,)]
    assert file_of(data).size() < len(memoryview(written_by_arrow(table, {}, 12_288)))
    bounded = set(with_statistics(table.schema))
    group = pq.read_metadata(path).row_group(0)
    for number in range(group.num_columns):
        statistics = group.column(number).statistics
        name = group.column(number).path_in_schema
        assert (statistics is not None) == (name in bounded)
        if statistics is not None:
            found = pc.min_max(plain(table[name].combine_chunks())).as_py()
            assert (statistics.min, statistics.max) == (found["min"], found["max"])


def test_integers_that_are_codes_already() -> None:
    """They are written as plain ones are, and take as much memory when they are read."""
    rows = 9_000
    some = pa.array([None if n % 3 else n % 70 for n in range(rows)], pa.int64())
    many = pa.array([n * 7 for n in range(rows)], pa.int64())
    none = pa.array([None] * (rows - 1) + [5], pa.int64())
    columns = {"span.some:int": some, "span.many:int": many, "span.none:int": none}
    base = load_table("load\n" + "".join(f"  t{n} a name=x\n" for n in range(100)))
    table = pa.concat_tables([base] * (rows // 100)).combine_chunks()
    written = []
    for added in (columns, {name: array.dictionary_encode() for name, array in columns.items()}):
        whole = table
        for name, array in added.items():
            whole = whole.append_column(name, array)
        written.append(encode_parquet(whole))
    found = [pq.read_table(pa.BufferReader(data)) for data in written]
    assert found[0].equals(found[1])
    assert found[1].select(list(columns)).equals(pa.table(columns))
    directories = [read_directory(data) for data in written]
    for name in columns:
        sizes = [directory.decoded_bytes(name) for directory in directories if directory is not None]
        assert len(sizes) == 2
        assert abs(sizes[0] - sizes[1]) <= rows // 8 + 64  # a bit that says what is null
    groups = [pq.read_metadata(pa.BufferReader(data)).row_group(0) for data in written]
    for number in range(groups[0].num_columns):
        assert _bounds(groups[0].column(number)) == _bounds(groups[1].column(number))


def _bounds(chunk: Any) -> tuple[Any, ...] | None:
    found = chunk.statistics
    return None if found is None or not found.has_min_max else (found.min, found.max, found.null_count)
