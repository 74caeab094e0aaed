"""Rows of many columns are read from single pages, and are the same as from whole columns."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from query.trace.trace import find_trace
from tables.errors import StorageError
from tables.parquet import read, thrift
from tables.parquet.pages import Pages, parse_pages
from tables.parquet.write import to_parquet
from tables.schema import EVENT
from tests.helpers.blocks.parquet_files import EVENTS, TEXTS, WORDS, many_spans, plain, source_of

ROWS_OF_FOUR_PAGES = 40_000
COLUMNS = {
    "trace_id": (pa.binary(16), st.binary(min_size=16, max_size=16)),
    "start_ns": (pa.int64(), st.integers(-9, 9)),
    "name": (pa.string(), TEXTS),
    "span.a": (pa.string(), WORDS),
    "span.b:int": (pa.int64(), st.one_of(st.none(), st.integers(0, 3))),
    "span.c:bool": (pa.bool_(), st.one_of(st.none(), st.booleans())),
    "span.d:string[]": (pa.list_(pa.string()), st.one_of(st.none(), st.lists(WORDS, max_size=3))),
    "events": (pa.list_(EVENT), st.one_of(st.none(), st.just([]), st.lists(EVENTS, max_size=3))),
    "links": (pa.list_(EVENT), st.sampled_from([None, []])),
    **{f"span.more{n}:int": (pa.int64(), st.one_of(st.none(), st.integers(0, 3))) for n in range(4)},
}
WRITTEN = st.fixed_dictionaries(
    {
        "max_rows_per_page": st.integers(1, 20),
        "write_page_index": st.sampled_from([True, True, True, False]),  # False: files of earlier versions
        "use_dictionary": st.booleans(),
        "dictionary_pagesize_limit": st.sampled_from([8, 1 << 20]),  # the small one: gives up in mid-column
        "data_page_size": st.sampled_from([50, 8 << 20]),  # the small one: pages begin anywhere
        "write_batch_size": st.sampled_from([3, 1024]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "compression": st.sampled_from(["zstd", "lz4", "none"]),
    }
)


def _arrow_reads(data: Any) -> bool:
    """Arrow cannot read some of its own files: lists in lists without values, in pages of version 2 that it cut."""
    try:
        pq.read_table(pa.BufferReader(data))
    except pa.ArrowInvalid:
        return False
    return True


@given(st.data(), st.integers(1, 60), WRITTEN)
def test_equals_whole_columns(data: st.DataObject, rows: int, written: dict[str, Any]) -> None:
    """Whatever the layout of the pages, whether or not there is an index of them, and wherever the rows lie."""
    assert len(COLUMNS) > read._SOME_COLUMNS
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    columns = {}
    for name, (type_, values) in COLUMNS.items():
        # Few distinct values: enough for each kind of page.
        distinct = data.draw(st.lists(values, min_size=1, max_size=4))
        columns[name] = pa.array([distinct[code] for code in random.integers(0, len(distinct), rows)], type_)
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=rows, store_schema=False, **written)
    source = source_of(sink.getvalue(), rows)
    assume(_arrow_reads(sink.getvalue()))
    for _ in range(3):
        first = data.draw(st.integers(0, rows - 1))
        end = data.draw(st.integers(first, rows))
        found = source.read(list(COLUMNS), (first, end))
        for name, (type_, _) in COLUMNS.items():
            assert plain(found[name]).type == type_
            assert pa.types.is_dictionary(found[name].type) == (type_ == pa.string())
            assert plain(found[name]).to_pylist() == table[name].slice(first, end - first).to_pylist()


@pytest.mark.parametrize(
    ("size", "paged"),
    [pytest.param(1, True, id="small values"), pytest.param(1000, False, id="values with pages of their own")],
)
def test_pages_of_written_files(size: int, paged: bool) -> None:
    """Begin at the same rows in all columns but those of very large values, and a trace needs one or two of them."""
    data = to_parquet(many_spans(ROWS_OF_FOUR_PAGES, size=size))
    source = source_of(data, ROWS_OF_FOUR_PAGES)
    pages = source._pages()
    assert pages.starts == (0, 12_288, 24_576, 36_864, ROWS_OF_FOUR_PAGES)
    assert source.columns - set(pages.columns) == (set() if paged else {"span.large"})
    for number in (0, 6143, 6144, ROWS_OF_FOUR_PAGES // 2 - 1):
        found = find_trace([source], number.to_bytes(8, "big") * 2)
        assert found is not None
        assert found["span.unique"].to_pylist() == [str(2 * number), str(2 * number + 1)]
        assert ("span.large" in found.column_names) == (number % 2 == 0)


@pytest.mark.parametrize(
    ("first", "end", "around"),
    [
        pytest.param(0, 1, (0, 1), id="first row"),
        pytest.param(9, 11, (0, 2), id="two pages"),
        pytest.param(10, 20, (1, 2), id="a page"),
        pytest.param(24, 25, (2, 3), id="last row"),
        pytest.param(0, 25, (0, 3), id="all"),
        pytest.param(10, 10, (1, 2), id="no row"),
        pytest.param(25, 25, (2, 3), id="no row at the end"),
    ],
)
def test_around(first: int, end: int, around: tuple[int, int]) -> None:
    """The pages that have the rows; for no rows one page, from which none is taken."""
    assert Pages(b"", (0, 10, 20, 25), {}).around(first, end) == around


def test_unreadable_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A StorageError that names the file, not an IndexError."""
    data = to_parquet(many_spans(ROWS_OF_FOUR_PAGES))
    source = source_of(data, ROWS_OF_FOUR_PAGES)
    source.traces()
    whole = source._bytes
    monkeypatch.setattr(source, "_bytes", lambda start, end: whole(start, end)[-200:])
    with pytest.raises(StorageError, match="file has an offset index"):
        find_trace([source], bytes(16))


def test_no_index() -> None:
    """A file without one has no pages that can be read alone, and no columns whose pages are known."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1, 2]}), sink)
    data = sink.getvalue().to_pybytes()
    pages = parse_pages(data, 0)
    assert (pages.starts, pages.columns) == ((0, 2), {})


@given(st.integers(0, 2**63 - 1), st.binary(max_size=300), st.integers(1, 15))
def test_thrift_values(number: int, text: bytes, step: int) -> None:
    """What is written is read again, and skipped as a whole."""
    value = thrift.field(step, thrift.I64, thrift.number(number))
    value += thrift.field(1, thrift.BINARY, thrift.binary(text)) + thrift.STOP
    reader = thrift.ThriftReader(value)
    found = [(name, reader.number() if type_ == thrift.I64 else reader.binary()) for name, type_ in reader.fields()]
    assert found == [(step, number), (step + 1, text)]
    skipped = thrift.ThriftReader(thrift.structs(20) + value * 20)
    skipped.skip(thrift.LIST)
    assert skipped.at == len(skipped.data)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        pytest.param(thrift.TRUE, b"", id="bool"),
        pytest.param(thrift.BYTE, b"\xff", id="byte"),
        pytest.param(thrift.I16, b"\xff\x01", id="short"),
        pytest.param(thrift.DOUBLE, bytes(8), id="double"),
        pytest.param(thrift.LIST, b"\x21\x01\x02", id="list of bools"),
        pytest.param(thrift.SET, b"\x13\x05", id="set"),
        pytest.param(thrift.STRUCT, b"\x05\x40\x02\x00", id="struct with a long field number"),
    ],
)
def test_thrift_skips(type_: int, value: bytes) -> None:
    """Every type that Parquet uses, to the byte."""
    reader = thrift.ThriftReader(value + b"rest")
    reader.skip(type_)
    assert reader.at == len(value)


@given(st.lists(st.integers(0, 2**63 - 1)), st.integers(1, 15))
def test_thrift_numbers(numbers: list[int], step: int) -> None:
    """A struct of integers as a list."""
    value = b"".join(thrift.field(step, thrift.I64, thrift.number(number)) for number in numbers) + thrift.STOP
    reader = thrift.ThriftReader(value)
    assert reader.numbers() == numbers
    assert reader.at == len(value)


def test_thrift_unknown_type() -> None:
    """Is refused: how long it is cannot be known."""
    with pytest.raises(ValueError, match="type 11"):
        thrift.ThriftReader(b"\0").skip(11)
