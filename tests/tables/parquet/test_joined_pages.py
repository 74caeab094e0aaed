"""A column of many small files, read as one chunk, is what the files have, one below the other."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tables.parquet import small_files
from tables.parquet.directory import read_directory, with_directory
from tables.parquet.encode_file import encode_rows
from tables.parquet.joined_pages import Chunk, joined
from tables.parquet.small_files import LoadedFile, SmallFile, decode, load
from tables.parquet.write import key_values, one_chunk, to_parquet
from tests.helpers.blocks.parquet_files import plain
from tests.helpers.examples import examples
from tests.helpers.querying.otlp_rows import make_table

FEW = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ß" * 40]))
ROWS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["", "GET", "POST"]) | st.text(max_size=5),
        "span.few": FEW,
        "span.none": st.none(),
        "span.any": st.one_of(st.none(), st.text(max_size=9)),
        "span.n:int": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 3)),
        "span.f:double": st.one_of(st.none(), st.floats(allow_nan=False)),
        "span.b:bool": st.one_of(st.none(), st.booleans()),
        "span.raw:bytes": st.one_of(st.none(), st.binary(max_size=3)),
    }
)
TIMES = {"start_ns": 5, "duration_ns": 1}


def table_of(rows: list[dict[str, Any]], seed: int) -> pa.Table:
    ids = {"trace_id": bytes([seed % 7]) * 16}
    return make_table([row | TIMES | ids | {"span_id": number.to_bytes(8, "big")} for number, row in enumerate(rows)])


def encoded(table: pa.Table) -> Any:
    """The table as a merge writes its files: pages by hand, with a directory."""
    return with_directory(encode_rows(one_chunk(table), key_values(None), 12_288), table)


def repeated(table: pa.Table) -> Any:
    """Of more than a thousand rows, which are compressed in another way."""
    return to_parquet(pa.concat_tables([table] * (1000 // table.num_rows + 1)))


def loaded(data: Any, rows: int) -> LoadedFile:
    return load(SmallFile("file", len(data), rows, None), data)


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tables=st.lists(st.lists(ROWS, min_size=1, max_size=12), min_size=2, max_size=5),
    writers=st.lists(st.sampled_from([to_parquet, to_parquet, encoded, repeated]), min_size=5, max_size=5),
)
def test_it_is_what_the_files_have(tables: list[list[dict[str, Any]]], writers: list[Any]) -> None:
    made = []
    for number, (rows, write) in enumerate(zip(tables, writers, strict=False)):
        table = table_of(rows, number)
        data = write(table)
        made.append((table, loaded(data, _rows(data))))
    for column in made[0][0].column_names:
        array = decode([file for _, file in made], column)
        array.validate(full=True)
        expected = [value for table, file in made for value in _values(table, column, file.directory.rows)]
        assert plain(array).to_pylist() == expected
        if pa.types.is_dictionary(array.type):
            assert len(array.dictionary.unique()) == len(array.dictionary)


def _rows(data: Any) -> int:
    found = read_directory(data)
    assert found is not None
    assert found.checked
    return found.rows


def _values(table: pa.Table, column: str, rows: int) -> list[Any]:
    values = table[column].to_pylist()
    return values * (rows // len(values))


def test_all_flat_columns_are_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of([{"name": "n", "span.a": "x", "span.n:int": 1, "span.l:int[]": [1]}] * 3, 1)
    files = [loaded(to_parquet(table), 3)] * 2
    monkeypatch.setattr(small_files, "_joined", None)
    for column in table.column_names:
        if not pa.types.is_list(table.schema.field(column).type):
            assert len(decode(files, column)) == 6


def test_dictionaries_that_were_full() -> None:
    """Behind codes come pages of the texts themselves."""
    texts = [f"{number // 2:04d}" + "x" * 3_000 for number in range(2_400)]
    table = table_of([{"name": "n", "span.long": text} for text in texts], 1)
    file = loaded(to_parquet(table), 2_400)
    assert file.directory.checked
    start, size, dictionary_bytes, storing = file.directory.flat("span.long")
    assert dictionary_bytes > 0
    assert joined("span.long", [Chunk(file.data[start : start + size], 2_400, dictionary_bytes, storing)] * 2) is None
    other = loaded(to_parquet(table_of([{"name": "n", "span.long": "x"}] * 3, 2)), 3)
    for files in ([file, other], [other, file], [file, file]):
        expected = [text for one in files for text in (texts if one is file else ["x"] * 3)]
        assert plain(decode(files, "span.long")).to_pylist() == expected
