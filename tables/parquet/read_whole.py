"""All columns of a file, read once: codes of dictionaries as they are, and no leaf that has nothing.

A column of lists has a leaf for each field of its items: eight for the attributes of events. What no item has, in most
files more than half of them, is not read; it costs as much as what some have.
"""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import one_array
from tables.parquet.code_pages import page_header
from tables.parquet.encode_pages import DICTIONARY_PAGE
from tables.parquet.flat_columns import read_flat_columns

# A page without values: its header, and what compression makes of nothing.
_EMPTY_PAGE_BYTES_MAX: Final = 48
# With fewer rows it takes longer to find out what need not be read.
_ROWS_MIN: Final = 8192


def read_whole(data: pa.Buffer, metadata: pq.FileMetaData, dictionaries: Sequence[str]) -> dict[str, Any]:
    """The columns, as the file has them.

    data: a whole file with one row group; dictionaries: paths of texts that are read as DictionaryArray. Others may be,
    too. Raises: ArrowException, OSError where it is damaged
    """
    many = metadata.num_rows >= _ROWS_MIN
    coded = read_flat_columns(data, metadata) if many else {}
    group = metadata.row_group(0)
    paths = [group.column(number).path_in_schema for number in range(metadata.num_columns)]
    empty = _empty_leaves(memoryview(data).cast("B"), metadata) if many else set()
    wanted = [number for number in range(len(paths)) if number not in coded and number not in empty]
    file = pq.ParquetFile(
        pa.BufferReader(data),
        metadata=metadata,
        read_dictionary=dictionaries,
        pre_buffer=False,
        page_checksum_verification=True,
    )
    schema = file.schema_arrow
    found = {paths[number]: array for number, array in coded.items()}
    if wanted:
        table = file.reader.read_row_group(0, column_indices=wanted, use_threads=False)
        found |= {
            name: _with_fields(one_array(table[name]), schema.field(name).type) if empty else one_array(table[name])
            for name in table.column_names
        }
    return {name: found[name] for name in schema.names}


def _empty_leaves(view: memoryview, metadata: pq.FileMetaData) -> set[int]:
    """The leaves of lists that have no value. Of those of one list one stays: it says where there are items."""
    group, schema = metadata.row_group(0), pq.ParquetSchema(metadata)
    empty: set[int] = set()
    kept: dict[str, bool] = {}  # by list: whether a leaf with values was seen
    first: dict[str, int] = {}  # its first leaf without
    for number in range(metadata.num_columns):
        if not schema.column(number).max_repetition_level:
            continue
        chunk = group.column(number)
        parent = chunk.path_in_schema.rpartition(".")[0]
        if _has_no_values(view, chunk):
            empty.add(number)
            first.setdefault(parent, number)
            kept.setdefault(parent, False)
        else:
            kept[parent] = True
    return empty.difference(first[parent] for parent, has in kept.items() if not has)


def _has_no_values(view: memoryview, chunk: Any) -> bool:
    """Whether its dictionary is empty. DictionaryPageHeader: num_values = 1"""
    if not chunk.has_dictionary_page:
        return False
    start, end = chunk.dictionary_page_offset, chunk.data_page_offset
    if not 0 < start < end <= start + _EMPTY_PAGE_BYTES_MAX:
        return False
    try:
        header = page_header(bytes(view[start:end]), 0)
    except (IndexError, ValueError):
        return False  # Arrow says what is wrong with it
    return header.type == DICTIONARY_PAGE and list(header.inner[:1]) == [0]


def _with_fields(array: Any, type_: Any) -> Any:
    """The array with all fields of its type: null where they were not read. In: an Array without offset"""
    if array.type == type_:
        return array
    count = len(array)
    buffers = array.buffers()
    if pa.types.is_list(type_):
        items = _with_fields(array.values, type_.value_type)
        return pa.Array.from_buffers(type_, count, buffers[:2], children=[items])
    names = {field.name for field in array.type}
    fields = [
        _with_fields(array.field(field.name), field.type) if field.name in names else pa.nulls(count, field.type)
        for field in type_
    ]
    return pa.Array.from_buffers(type_, count, buffers[:1], children=fields)
