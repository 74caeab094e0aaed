"""A file's columns by its directory are what they are by its footer, and nobody asks for that."""

from collections.abc import Callable
from typing import Any, NoReturn

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from query.metrics.metrics import metrics_range
from query.requests import RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest
from query.search.search import search
from query.tags.tag_text import parse_tag
from query.tags.tags import tag_names, tag_values
from query.trace.trace import find_trace
from tables.columns.arrays import one_array
from tables.errors import DamagedError
from tables.parquet.column_file import DirectoryFile
from tables.parquet.directory import directory_of_tail, with_directory
from tables.parquet.encode_file import encode_rows
from tables.parquet.open_file import open_parquet
from tables.parquet.read import ParquetSource
from tables.parquet.write import key_values, one_chunk, to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tests.helpers.blocks.parquet_files import many_spans, plain, span_tables
from tests.helpers.files import file_of

_SPANS = 40_000


def by_directory(data: Any) -> DirectoryFile:
    tail = tail_of(data)
    directory = directory_of_tail(data.slice(data.size - tail.size_bytes))
    assert directory is not None
    return DirectoryFile("file", directory, lambda: file_of(data))


def encoded(table: pa.Table) -> Any:
    """A file whose pages are encoded by hand, with a directory, as compaction writes it."""
    return with_directory(encode_rows(one_chunk(table), key_values(None), 7), table)


@pytest.mark.parametrize("write", [to_parquet, encoded])
@given(table=span_tables(), data=st.data())
def test_equals_the_footer(write: Callable[[pa.Table], Any], table: pa.Table, data: st.DataObject) -> None:
    written = write(table)
    own, footer = by_directory(written), open_parquet("file", lambda: file_of(written), None)
    assert list(own.names) == list(footer.names) == table.column_names
    assert own.hidden() == footer.hidden()
    some = data.draw(st.lists(st.sampled_from(table.column_names), unique=True, min_size=1))
    for name, found, expected in zip(some, own.decode(some), footer.decode(some), strict=True):
        assert found.type == expected.type
        assert plain(found).equals(plain(expected)) or pa.types.is_floating(plain(found).type)
        # NaN is equal to nothing, and -0.0 to 0.0.
        assert [repr(value) for value in found.to_pylist()] == [repr(value) for value in table[name].to_pylist()]
        assert own.shape(name) == footer.shape(name)
        assert own.bounds_of(name) in {footer.bounds_of(name), None}
    assert own.chunks(some) == footer.chunks(some)
    for name in {"events", "links"}.intersection(table.column_names):
        assert own.entry_count(name) == footer.entry_count(name)
        keys, expected = own.entry_keys(name), footer.entry_keys(name)
        assert keys.type == expected.type
        assert keys.to_pylist() == expected.to_pylist()


def test_damage_names_the_file() -> None:
    table = many_spans(100)
    data = bytearray(to_parquet(table).to_pybytes())
    good = by_directory(pa.py_buffer(bytes(data)))
    start, length = good.chunks(["name"])[0]
    data[start + length - 3] ^= 1
    damaged = DirectoryFile("file", good.directory, lambda: file_of(pa.py_buffer(bytes(data))))
    assert one_array(pa.chunked_array(damaged.decode(["duration_ns"]))).to_pylist() == table["duration_ns"].to_pylist()
    with pytest.raises(DamagedError, match="file cannot be read"):
        damaged.decode(["name"])


def test_no_query_parses_a_footer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of several pages: whole columns, some rows of all columns, keys, and digests."""

    def parsed(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a footer")

    table = many_spans(_SPANS)
    data = to_parquet(table)
    monkeypatch.setattr("tables.parquet.read.open_parquet", parsed)
    cache: Any = ByteCache("test", 1 << 28)
    source = ParquetSource("file", lambda: file_of(data), cache, _SPANS, tail=tail_of(data))
    found = find_trace([source], (5).to_bytes(8, "big") * 2)
    assert found is not None
    assert found["span.unique"].to_pylist() == ["10", "11"]
    assert len(search([source], SearchRequest(query='{ span.unique = "77" }')).traces) == 1
    assert not search([source], SearchRequest(query='{ span.nosuch = "77" }')).traces
    request = RangeRequest(query="{ } | count_over_time() by (name)", start_ns=-_SPANS, end_ns=_SPANS, step_ns=_SPANS)
    assert sum(value for series in metrics_range([source], request).series for _, value in series.samples) == _SPANS
    assert "unique" in tag_names([source], TagNamesRequest()).scopes["span"]
    assert len(tag_values([source], TagValuesRequest(fields=(parse_tag("name"),))).values) == 7
    assert len(source.row_digests(pa.array([1, 2]).to_numpy())) == 2
