"""A segment's table → Parquet bytes.

Encodings are chosen per column: numbers that grow or vary little as deltas; ids, and strings that hardly repeat,
plain (a dictionary of unique values costs time and space); everything else by dictionary. Statistics only where they
prune. Measured in docs/adr/ and benchmarks/.
"""

from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import one_array
from tables.parquet.directory import with_directory
from tables.schema import SCHEMA_KEY, SCHEMA_VERSION, parse_attribute_column

DELTA: Final = ("start_ns", "duration_ns", "nested_left", "nested_right", "nested_parent")
_PLAIN: Final = ("span_id", "parent_span_id", "events.list.element.time_ns")
_STATISTICS: Final = (
    "trace_id",
    "start_ns",
    "duration_ns",
    "trace_start_ns",
    "trace_duration_ns",
    "kind",
    "status_code",
    "name",
    "resource.service.name",
)
# How the rows are sorted, as the footer says it.
SORTED_BY: Final = ("trace_id", "start_ns")
# Number of values of a string column that show whether they repeat.
_SAMPLE: Final = 200
_UNIQUE_SHARE_MAX: Final = 0.7
# With fewer rows most of the time goes into setting up zstd for each column, and it saves nothing.
_SMALL_ROWS: Final = 1000
# One trace costs what decoding a page of each column does (`tables.parquet.pages`); all rows cost more with more pages:
# with five 4 %, with eight 20 %. For that the pages of all columns must begin at the same rows, so that only very
# large values may begin one of their own.
PAGE_ROWS: Final = 12_288
_PAGE_BYTES: Final = 8 << 20


def to_parquet(table: pa.Table, metadata: dict[str, str] | None = None) -> pa.Buffer:
    """One file with one row group; zstd level 1, small ones LZ4 and with a directory.

    metadata: for the footer's key-value pairs, beside the version of the schema
    """
    flat = _plain_numbers(one_chunk(table))
    return with_directory(written_by_arrow(flat, key_values(metadata), PAGE_ROWS), flat)


def key_values(metadata: dict[str, str] | None) -> dict[str, str]:
    """What the footer says beside its columns."""
    return {SCHEMA_KEY: str(SCHEMA_VERSION), **(metadata or {})}


def one_chunk(table: pa.Table) -> pa.Table:
    """The table with one array for each column."""
    return pa.Table.from_arrays([one_array(column) for column in table.columns], names=table.column_names)


def _plain_numbers(flat: pa.Table) -> pa.Table:
    """The table without dictionaries of what is no text."""
    columns = {name: one_array(flat[name]) for name in flat.column_names}
    for name, array in columns.items():
        if pa.types.is_dictionary(array.type) and array.type.value_type not in (pa.string(), pa.binary()):
            columns[name] = array.dictionary_decode()
    return pa.table(columns)


def written_by_arrow(flat: pa.Table, metadata: dict[str, str], page_rows: int, *, raw: bool = False) -> pa.Buffer:
    """The file as Arrow writes it. In: at least one column, of one chunk each

    raw: for whoever compresses the pages: with an offset index even if a page has all rows
    """
    small = flat.num_rows < _SMALL_ROWS
    compression = "lz4" if small else "zstd"
    plain = set(_PLAIN) | set(DELTA)
    plain |= {name for name in flat.column_names if hardly_repeats(one_array(flat[name]))}
    sorting = [flat.schema.get_field_index(name) for name in SORTED_BY]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        flat.schema,
        compression="none" if raw else compression,
        compression_level=None if small or raw else 1,
        use_dictionary=[path for path in _leaf_paths(flat.schema) if path not in plain],
        column_encoding=dict.fromkeys(DELTA, "DELTA_BINARY_PACKED"),
        write_statistics=with_statistics(flat.schema),
        write_page_index=raw or flat.num_rows > page_rows,
        max_rows_per_page=page_rows,
        data_page_size=_PAGE_BYTES,
        write_page_checksum=not raw,
        store_schema=False,
        sorting_columns=[pq.SortingColumn(number) for number in sorting if number >= 0],
    ) as writer:
        # Without Arrow's own schema in the footer, its metadata is not written either.
        writer.add_key_value_metadata(metadata)
        writer.write_table(flat, row_group_size=max(1, flat.num_rows))
    return sink.getvalue()


def hardly_repeats(column: Any) -> bool:
    """Whether a dictionary of these texts would only take room. False for what is no plain text"""
    if column.type != pa.string():
        return False
    values = column.slice(len(column) // 2) if column.null_count == 0 else column.drop_null()
    sample = values.slice(0, _SAMPLE)
    return len(sample) > 1 and len(sample.unique()) > _UNIQUE_SHARE_MAX * len(sample)


def with_statistics(schema: pa.Schema) -> list[str]:
    """The columns whose bounds the footer says."""
    numbers = []
    for field in schema:
        attribute = parse_attribute_column(field.name)
        if attribute is not None and attribute.type in ("int", "double"):
            numbers.append(field.name)
    return [name for name in _STATISTICS if name in schema.names] + numbers


def _leaf_paths(schema: pa.Schema) -> list[str]:
    paths: list[str] = []
    for field in schema:
        _add_leaves(paths, field.name, field.type)
    return paths


def _add_leaves(paths: list[str], path: str, type_: Any) -> None:
    if pa.types.is_list(type_):
        _add_leaves(paths, f"{path}.list.element", type_.value_type)
    elif pa.types.is_struct(type_):
        for field in type_:
            _add_leaves(paths, f"{path}.{field.name}", field.type)
    else:
        paths.append(path)
