"""docs/schema.md says what tables/schema.py says, and files keep what it promises."""

import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tables.columns.overflow import KEY_CHARS_MAX
from tables.errors import DamagedError
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.schema import ATTRIBUTE_TYPES, FIXED, KEY_VALUE, OPTIONAL, SCHEMA_KEY, SCHEMA_VERSION, SCOPES
from tables.storage.byte_cache import ByteCache
from tests.helpers.files import ROOT, file_of
from tests.helpers.live.whole_way import Way, request, span
from tests.query.golden import load_table

PAGE = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
SPANS = """load
  t1 a    name=GET duration=2s resource.service.name=web
"""


def rows(heading: str) -> list[list[str]]:
    """The cells of all tables of a section, without their heads."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{heading}\n")]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line] for line in lines]


def shown(name: str, type_: pa.DataType) -> Iterator[tuple[str, str]]:
    """A column and the fields of its entries, each with its type, as the page shows them."""
    if not (pa.types.is_list(type_) and pa.types.is_struct(type_.value_type)):
        yield name, str(type_)
        return
    yield name, "list"
    if type_.value_type == KEY_VALUE and name != "events.attributes":
        return  # described once
    for field in type_.value_type:
        yield from shown(f"{name}.{field.name}", field.type)


def test_fixed_columns() -> None:
    assert [(name, type_) for name, type_, *_ in rows("Fixed columns")] == [(f.name, str(f.type)) for f in FIXED]


def test_optional_columns() -> None:
    expected = [pair for field in OPTIONAL for pair in shown(field.name, field.type)]
    assert [(name, type_) for name, type_, _ in rows("Optional columns")] == expected


def test_attribute_types() -> None:
    said = rows("Attributes")
    words = {word: type_ for word, type_, *_ in (row for row in said if len(row) == 3)}
    # Arrow names the items of a list that it makes itself otherwise than Parquet does.
    assert words == {word: str(type_).replace("item:", "element:") for word, type_ in ATTRIBUTE_TYPES.items()}
    assert {row[0].partition(".")[0] for row in said if len(row) == 2} == set(SCOPES)


def test_limits_and_version_are_those_of_the_code() -> None:
    assert f"more than {KEY_CHARS_MAX} characters" in PAGE
    assert f"`{SCHEMA_KEY}`" in PAGE
    assert PAGE.startswith(f"# The span table, version {SCHEMA_VERSION}\n")


def test_columns_that_are_never_null() -> None:
    """Also of spans with next to nothing in them, or with what cannot be shredded."""
    never = [name for name, _, null, _ in rows("Fixed columns") if null == "never"]
    way = Way(
        request([span(1, name="", start_time_unix_nano=0, end_time_unix_nano=0), span(2, parent_span_id=b"x" * 8)])
    )
    table = pq.read_table(pa.BufferReader(way.file))
    assert {name: table.column(name).null_count for name in never} == dict.fromkeys(never, 0)


def test_a_file_says_its_version_beside_other_pairs() -> None:
    table = load_table(SPANS)
    for pairs in (None, {"x": "y"}):
        found = pq.read_metadata(pa.BufferReader(to_parquet(table, pairs))).metadata
        assert found[SCHEMA_KEY.encode()] == str(SCHEMA_VERSION).encode()
        assert (found.get(b"x") == b"y") == bool(pairs)


@pytest.mark.parametrize("version", ["2", "one", ""])
def test_files_of_unknown_versions_are_refused(version: str) -> None:
    data = to_parquet(load_table(SPANS), {SCHEMA_KEY: version})
    source = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 20), 1)
    with pytest.raises(DamagedError, match=f"has version {version} of the schema; this build reads up to 1"):
        source.read(["name"])


def test_files_without_a_version_are_read() -> None:
    table = pq.read_table(pa.BufferReader(to_parquet(load_table(SPANS)))).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, store_schema=False)
    data = sink.getvalue()
    assert pq.read_metadata(pa.BufferReader(data)).metadata is None
    source = ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 20), 1)
    assert source.read(["name"])["name"].to_pylist() == ["GET"]
