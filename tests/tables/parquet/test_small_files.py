"""Small files: their directory says what the footer says, and damage anywhere is noticed."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tables.errors import DamagedError
from tables.parquet.directory import SMALL_FILE_BYTES, Directory, read_directory, with_directory
from tables.parquet.footer import footer_start
from tables.parquet.layout import layout
from tables.parquet.read import ParquetSource
from tables.parquet.small_files import LoadedFile, SmallFile, decode, describe, digests_of_rows, load
from tables.parquet.write import to_parquet
from tables.schema import EVENT, SCHEMA_VERSION
from tables.seal import seal
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tests.helpers.examples import examples
from tests.helpers.files import file_of
from tests.helpers.live.whole_way import DECODER, request, span
from tests.helpers.querying.otlp_rows import make_table


def table_of(rows: int = 3) -> pa.Table:
    return make_table(
        [
            {
                "trace_id": bytes([number // 2]) * 16,
                "span_id": number.to_bytes(8, "big"),
                "name": f"name {number % 2}",
                "start_ns": 10 + number,
                "duration_ns": 5,
                "span.a": "x" * (number % 3),
                "span.b.c:int[]": [1, number],
                "span.d.list.element": "a key that looks like a list",
                "events": [{"time_ns": 1, "name": "e", "attributes": [{"key": "k", "string_value": "v"}]}],
            }
            for number in range(rows)
        ]
    )


def loaded(data: Any, rows: int = 3, *, checks_tail: bool = True) -> LoadedFile:
    return load(SmallFile("file", len(data), rows, tail_of(data) if checks_tail else None), data)


def test_other_readers_do_not_see_it() -> None:
    table = table_of()
    data = to_parquet(table)
    assert read_directory(data) is not None
    source = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 20), 3, tail=tail_of(data))
    source.verify()
    plain = pq.read_table(pa.BufferReader(data))
    assert plain.num_rows == 3
    assert tail_of(data).size_bytes > len(plain.schema.names)


def test_says_what_the_footer_says() -> None:
    table = table_of()
    data = to_parquet(table)
    directory, metadata = loaded(data).directory, pq.read_metadata(pa.BufferReader(data))
    assert directory.checked
    from_footer = Directory.of_footer(metadata, [], lambda _name, _leaves: 64)
    assert from_footer is not None
    assert [*directory.numbers] == [*from_footer.numbers] == table.column_names
    assert directory.bounds["start_ns"] in ([10, 12], (10, 12))
    for column in table.column_names:
        known, first = layout(column), directory.first_leaf(column)
        assert known is not None
        for number, (path, field) in enumerate(known.paths, first):
            chunk = metadata.row_group(0).column(number)
            place = directory.leaf(number, field)
            assert place == from_footer.leaf(number, field)
            assert (path, place.size_bytes) == (chunk.path_in_schema, chunk.total_compressed_size)
            assert place.values == chunk.num_values
    assert directory.decoded_bytes("events") >= table["events"].nbytes


def test_files_without_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As earlier versions wrote them; also beside files that have one."""
    monkeypatch.setattr("tables.parquet.write.with_directory", lambda data, _: data)
    table = table_of()
    old = to_parquet(table)
    assert read_directory(old) is None
    new = with_directory(old, table)
    files = [loaded(old), loaded(new), loaded(old)]
    for column in table.column_names:
        array = decode(files, column)
        values = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        assert values.to_pylist() == 3 * table[column].to_pylist()


@pytest.mark.parametrize("directory", [True, False], ids=["by directory", "by footer"])
def test_files_of_a_later_version_are_refused(monkeypatch: pytest.MonkeyPatch, directory: bool) -> None:
    """As larger ones: what its columns mean is not known, whatever they are called."""
    with monkeypatch.context() as later:
        for module in ("directory", "write"):
            later.setattr(f"tables.parquet.{module}.SCHEMA_VERSION", SCHEMA_VERSION + 1)
        if not directory:
            later.setattr("tables.parquet.write.with_directory", lambda data, _: data)
        data = to_parquet(table_of())
    refused = pytest.raises(DamagedError, match=r"file has version 2 of the schema; .*a newer version of Stretto")
    with refused:
        loaded(data)
    end = data.to_pybytes()[len(data) - tail_of(data).size_bytes :]
    if directory:
        with refused:
            describe(SmallFile("file", len(data), 3, tail_of(data)), end)
    source = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 24), 3, tail=tail_of(data))
    with refused:
        source.read(["name"])


def wide_table() -> pa.Table:
    """Attributes with long names that pack well, most of them in the column `overflow`."""
    spans = [
        span(number + 1, attributes={f"{100 * number + at:05d}.{'k' * 250}": "v" for at in range(100)})
        for number in range(15)
    ]
    return seal([DECODER.decode([request(spans)]).spans], 10)


@pytest.mark.parametrize("limit", [None, 1 << 30], ids=["as written", "as written before"])
def test_long_names_of_thousands_of_attributes_are_no_damage(
    monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """They take more than a directory may; its packed form is small."""
    if limit is not None:
        monkeypatch.setattr("tables.parquet.directory._BODY_BYTES_MAX", limit)
    data = to_parquet(wide_table())
    assert len(data) < SMALL_FILE_BYTES
    assert (read_directory(data) is None) == (limit is None)
    assert loaded(data, 15).directory.rows == 15
    source = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 24), 15, tail=tail_of(data))
    column = f"span.{1499:05d}.{'k' * 250}"
    assert column in source.columns
    assert source.read([column])[column].to_pylist() == [None] * 14 + ["v"]
    source.verify()


def test_the_directory_of_a_large_file_has_a_checksum_of_its_own() -> None:
    words = np.random.default_rng(1).bytes(SMALL_FILE_BYTES)
    data = to_parquet(table_of(1).append_column("raw", pa.array([words]))).to_pybytes()
    found = read_directory(data)
    assert found is not None
    assert not found.checked
    page = data.index(words[:99])
    other = data[:page] + b"?" + data[page + 1 :]
    again = read_directory(other)
    assert again is not None
    assert again.numbers == found.numbers  # checksums of pages find that
    at = data.index(b"STRCDIR2") - 40
    with pytest.raises(ValueError, match="a directory whose checksum is another one"):
        read_directory(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("checks_tail", [True, False])
@settings(max_examples=examples(130), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_is_noticed(at: float, bit: int, checks_tail: bool) -> None:
    """With the checksum of the tail anywhere; without it at least in what the directory's own checksum covers."""
    table = table_of()
    data = bytearray(to_parquet(table).to_pybytes())
    good = bytes(data)
    place = int(at * len(data))
    data[place] ^= 1 << bit
    file = SmallFile("file", len(data), 3, tail_of(good) if checks_tail else None)
    in_pages = place < footer_start(memoryview(good)) - 64
    try:
        found = load(file, bytes(data))
    except DamagedError:
        return
    assert not checks_tail
    assert not in_pages
    try:
        for column in table.column_names:
            if column in found.directory.numbers:
                decode([found], column)
    except (DamagedError, KeyError):
        return


def test_a_column_of_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no checksum covers the footer, it says so: values of two files could not be put together."""
    monkeypatch.setattr("tables.parquet.write.with_directory", lambda data, _: data)
    row = {"trace_id": b"1" * 16, "span_id": b"1" * 8, "name": "n", "start_ns": 1, "duration_ns": 1}
    table = make_table([{**row, "span.list:string[]": ["a", "b"]}])
    at = table.column_names.index("span.list:string[]")
    other = table.set_column(at, "span.list:string[]", table.column(at).cast(pa.list_(pa.binary())))
    digests_of_rows(loaded(to_parquet(table), 1, checks_tail=False), np.array([0]))
    damaged = loaded(to_parquet(other), 1, checks_tail=False)
    with pytest.raises(DamagedError, match=r"column span.list:string\[\] of type list<.*binary>, not list<.*string>"):
        digests_of_rows(damaged, np.array([0]))


def test_wrong_number_of_rows() -> None:
    with pytest.raises(DamagedError, match="has 3 rows of 4"):
        loaded(to_parquet(table_of()), 4)


def test_layouts() -> None:
    events = layout("events")
    assert events is not None
    assert len(events.paths) == len(pa.schema([("events", pa.list_(EVENT))]).field(0).type.value_type) + 7
    assert layout("nosuch") is None
