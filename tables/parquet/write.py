"""A segment's table → Parquet bytes.

Encodings are chosen per column: numbers that grow or vary little as deltas; ids, and strings that hardly repeat,
plain (a dictionary of unique values costs time and space); everything else by dictionary. Statistics only where they
prune. Measured in docs/adr/ and benchmarks/.
"""

from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import one_array
from tables.schema import SCHEMA_KEY, SCHEMA_VERSION, parse_attribute_column

_DELTA: Final = ("start_ns", "duration_ns", "nested_left", "nested_right", "nested_parent")
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
# Number of values of a string column that show whether they repeat.
_SAMPLE: Final = 200
_UNIQUE_SHARE_MAX: Final = 0.7
# With fewer rows most of the time goes into setting up zstd for each column, and it saves nothing.
_SMALL_ROWS: Final = 1000
# One trace costs what decoding a page of each column does (`tables.parquet.pages`); all rows cost more with more pages:
# with five 4 %, with eight 20 %. For that the pages of all columns must begin at the same rows, so that only very
# large values may begin one of their own.
_PAGE_ROWS: Final = 12_288
_PAGE_BYTES: Final = 8 << 20


def to_parquet(table: pa.Table, metadata: dict[str, str] | None = None) -> pa.Buffer:
    """One file with one row group; zstd level 1, small ones LZ4.

    metadata: for the footer's key-value pairs, beside the version of the schema
    """
    small = table.num_rows < _SMALL_ROWS
    columns = [one_array(column) for column in table.columns]
    plain = set(_PLAIN) | set(_DELTA)
    plain |= {name for name, column in zip(table.column_names, columns, strict=True) if _hardly_repeats(column)}
    flat = pa.Table.from_arrays(columns, names=table.column_names)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        flat.schema,
        compression="lz4" if small else "zstd",
        compression_level=None if small else 1,
        use_dictionary=[path for path in _leaf_paths(flat.schema) if path not in plain],
        column_encoding=dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"),
        write_statistics=_statistics_columns(flat.schema),
        write_page_index=table.num_rows > _PAGE_ROWS,
        max_rows_per_page=_PAGE_ROWS,
        data_page_size=_PAGE_BYTES,
        write_page_checksum=True,
        store_schema=False,
        sorting_columns=[pq.SortingColumn(0), pq.SortingColumn(flat.schema.get_field_index("start_ns"))],
    ) as writer:
        # Without Arrow's own schema in the footer, its metadata is not written either.
        writer.add_key_value_metadata({SCHEMA_KEY: str(SCHEMA_VERSION), **(metadata or {})})
        writer.write_table(flat, row_group_size=max(1, flat.num_rows))
    return sink.getvalue()


def _hardly_repeats(column: Any) -> bool:
    if column.type != pa.string():
        return False
    values = column.slice(len(column) // 2) if column.null_count == 0 else column.drop_null()
    sample = values.slice(0, _SAMPLE)
    return len(sample) > 1 and len(sample.unique()) > _UNIQUE_SHARE_MAX * len(sample)


def _statistics_columns(schema: pa.Schema) -> list[str]:
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
