"""All columns of a file are read as Arrow reads them, though some only as codes, and some not at all."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from tables.columns.arrays import narrow_dtype
from tables.errors import DamagedError
from tables.merge.inputs import ParquetInput
from tables.parquet import pages_together, thrift
from tables.parquet import read_whole as read_whole_module
from tables.parquet.encode_file import encode_rows
from tables.parquet.flat_columns import VALUES_MAX, read_flat_columns
from tables.parquet.read_whole import read_whole
from tables.parquet.write import to_parquet, written_by_arrow
from tables.schema import EVENT, LINK
from tables.storage.checksum import tail_of
from tests.helpers.blocks.parquet_files import bits, plain, span_tables
from tests.helpers.files import file_of


@pytest.fixture(autouse=True, scope="module")
def _few_rows() -> Iterator[None]:
    with patch.object(read_whole_module, "_ROWS_MIN", 1):
        yield


def read(data: Any) -> dict[str, Any]:
    return read_whole(pa.py_buffer(data), pq.read_metadata(pa.BufferReader(data)), ())


def leaves_read(data: Any) -> list[str]:
    """The leaves that are read at all, but for codes."""
    metadata = pq.read_metadata(pa.BufferReader(data))
    group = metadata.row_group(0)
    empty = read_whole_module._empty_leaves(memoryview(data).cast("B"), metadata)
    return [group.column(number).path_in_schema for number in range(metadata.num_columns) if number not in empty]


@given(span_tables())
def test_is_what_arrow_reads(table: pa.Table) -> None:
    """Of files of both writers, with pages of few rows."""
    flat = pa.table({name: plain(table[name].combine_chunks()) for name in table.column_names})
    for data in (encode_rows(table, {}, 7), written_by_arrow(table, {}, 7), to_parquet(flat)):
        wanted = pq.read_table(pa.BufferReader(data))
        found = read(data)
        assert list(found) == wanted.column_names
        for name, array in found.items():
            array.validate(full=True)
            assert bits(plain(array)).equals(bits(wanted[name].combine_chunks())), name
            assert plain(array).type == wanted.schema.field(name).type


@pytest.mark.parametrize("count", [1, 127, 128, 1024, VALUES_MAX, VALUES_MAX + 1])
@pytest.mark.parametrize("integers", [True, False])
def test_codes_of_any_width(count: int, integers: bool) -> None:
    """What a dictionary has too many values for is left to Arrow."""
    numbers = pa.array(np.arange(4 * count) // 4, mask=np.arange(4 * count) % 7 == 3)
    name, values = ("span.n:int", numbers) if integers else ("span.k", numbers.cast(pa.string()))
    data = written_by_arrow(pa.table({name: values}), {}, 500)
    coded = read_flat_columns(data, pq.read_metadata(pa.BufferReader(data)))
    assert bool(coded) == (count <= VALUES_MAX)
    if coded:
        assert coded[0].type.index_type == pa.from_numpy_dtype(narrow_dtype(count))
    assert plain(read(data)[name]).equals(values)


def test_a_dictionary_that_grew_too_large() -> None:
    """Arrow goes on without it: pages of both kinds lie in one column."""
    values = pa.array([f"a long text {number // 2}" for number in range(400)])
    sink = pa.BufferOutputStream()
    options = {"dictionary_pagesize_limit": 512, "data_page_size": 128, "write_batch_size": 20}
    pq.write_table(pa.table({"span.k": values}), sink, compression="zstd", store_schema=False, **options)
    data = sink.getvalue()
    assert not read_flat_columns(data, pq.read_metadata(pa.BufferReader(data)))
    assert read(data)["span.k"].equals(values)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 17, 127, 128, 255, 257, 1024])
@pytest.mark.parametrize("nulls", [0, 0.5, 0.99])
def test_pages_of_one_run_need_no_arrow(count: int, nulls: float) -> None:
    """Codes of 1 to 16 bits, and pages of which all rows are alike."""
    random = np.random.default_rng(count)
    codes = np.where(np.arange(5000) < 2000, random.integers(0, count, 5000), count - 1)
    mask = random.random(5000) < nulls
    mask[3000:] |= nulls > 0
    values = pa.array([f"text {number}" for number in range(count)])
    column = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=mask), values)
    data = encode_rows(pa.table({"span.k": column}), {}, 999)
    with patch.multiple(pages_together, codes=None, booleans=None):
        coded = read_flat_columns(data, pq.read_metadata(pa.BufferReader(data)))
    assert list(coded) == [0]
    assert plain(coded[0]).equals(plain(column))


@pytest.mark.parametrize("hand_written", [True, False])
def test_leaves_without_values_are_not_read(hand_written: bool) -> None:
    """But one of each list, which says where there are items."""
    attribute = {"key": "k", "string_value": "v"}
    event = {"time_ns": 1, "name": "e", "attributes": [attribute], "dropped_attributes_count": 0}
    bare = event | {"attributes": []}
    link = {"trace_id": b"t", "span_id": b"s", "trace_state": "", "attributes": None, "flags": 0}
    table = pa.table(
        {
            "events": pa.array([[event], [], None, [bare]] + [None] * 16, pa.list_(EVENT)),
            "links": pa.array([[link], [], [], []] + [[]] * 16, pa.list_(LINK)),
            "span.tags:string[]": pa.array([[], None, [], []] * 5, pa.list_(pa.string())),
        }
    )
    data = encode_rows(table, {}, 12) if hand_written else to_parquet(table)
    of_links = [path for path in leaves_read(data) if path.startswith("links.list.element.attributes")]
    # That of booleans has no dictionary, so nothing says that it is empty.
    assert of_links == ["links.list.element.attributes.list.element.bool_value"]
    events = {path.rpartition(".")[2] for path in leaves_read(data) if path.startswith("events")}
    assert events == {"time_ns", "name", "dropped_attributes_count", "key", "string_value", "bool_value"}
    assert "span.tags:string[].list.element" in leaves_read(data)
    assert {name: array.to_pylist() for name, array in read(data).items()} == pq.read_table(
        pa.BufferReader(data)
    ).to_pydict()


def test_attributes_may_be_called_as_leaves() -> None:
    """Though they are no lists."""
    table = pa.table(
        {
            "span.a.list.b": pa.array([None] * 30, pa.string()),
            "span.a.list.c": pa.array([None] * 30, pa.string()),
            "span.tags:string[].list.element": pa.array(["x", "y", None] * 10),
            "span.tags:string[]": pa.array([["x"], None, []] * 10),
        }
    )
    for data in (encode_rows(table, {}, 12), written_by_arrow(table, {}, 12)):
        assert {name: plain(array).to_pylist() for name, array in read(data).items()} == table.to_pydict()


def damaged_at(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize("hand_written", [True, False])
@pytest.mark.parametrize("place", ["dictionary", "codes"])
def test_damage_is_an_error(place: str, hand_written: bool) -> None:
    """As where Arrow reads the column alone."""
    table = pa.table({"span.k": ["some text", "another", None] * 50})
    data = (encode_rows if hand_written else written_by_arrow)(table, {}, 40)
    data = pa.py_buffer(data).to_pybytes()
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0)
    pages = chunk.data_page_offset
    bad = damaged_at(data, pages - 3 if place == "dictionary" else pages + 24)
    with pytest.raises((pa.ArrowException, OSError)):
        read(bad)


@pytest.mark.parametrize("hand_written", [True, False])
def test_any_damaged_byte_is_an_error_or_left_to_arrow(hand_written: bool) -> None:
    """No checksum covers the headers of pages, which say how many rows they have."""
    table = pa.table(
        {
            "span.k": ["some text", "another", None, None] * 30,
            "span.l": ["x", None, "y", "z"] * 30,
            "span.n:int": [1, 2, None, None] * 30,
            "span.x:double": [0.5, None, None, 1.5] * 30,
            "span.b:bool": [True, None, None, False] * 30,
        }
    )
    data = (encode_rows if hand_written else written_by_arrow)(table, {}, 40)
    data = pa.py_buffer(data).to_pybytes()
    metadata = pq.read_metadata(pa.BufferReader(data))
    chunk = metadata.row_group(0).column(4)
    for at in range(4, chunk.data_page_offset + chunk.total_compressed_size):
        bad = damaged_at(data, at)
        assert all(len(array) == len(table) for array in read_flat_columns(pa.py_buffer(bad), metadata).values())
        try:
            found = read(bad)
        except (pa.ArrowException, OSError):
            continue
        assert list(map(len, found.values())) == [len(table)] * table.num_columns


@pytest.mark.parametrize("count", [200, 300])
@pytest.mark.parametrize("hand_written", [True, False])
def test_a_code_without_a_value_is_an_error(count: int, hand_written: bool) -> None:
    """No checksum covers which values a dictionary should have."""
    texts = pa.array([str(number // 5) for number in range(5 * count)]).dictionary_encode()
    data = (encode_rows if hand_written else written_by_arrow)(pa.table({"span.k": texts}), {}, 400)
    tail = tail_of(data)
    one = ParquetInput("file", len(texts), lambda: file_of(data), tail)
    assert plain(one.columns()["span.k"]).equals(plain(texts))
    damaged = bytearray(data)
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0)
    head = bytes(data[chunk.dictionary_page_offset : chunk.data_page_offset])
    said = thrift.number(count)
    at = chunk.dictionary_page_offset + head.index(b"\x15" + said + b"\x15\0")
    damaged[at + 1 : at + 1 + len(said)] = thrift.number(count - 70)
    with pytest.raises(DamagedError) as raised:
        ParquetInput("file", len(texts), lambda: file_of(pa.py_buffer(damaged)), tail).columns()
    assert "checksum" not in str(raised.value)
