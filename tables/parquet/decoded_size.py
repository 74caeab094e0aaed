"""The size of a Parquet column in memory, estimated before it is decoded."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tables.columns import overflow
from tables.columns.arrays import list_values, one_array

# Bytes of a value; of a boolean, and of what each value has besides, a bit.
_WIDTH: Final = {"INT64": 8, "DOUBLE": 8, "INT32": 4, "FLOAT": 4, "BOOLEAN": 1, "INT96": 12}
_OFFSET_BYTES: Final = 5  # of a text, or a list's, and the bit that says whether there is one
# Up to this it does not matter how often the longest text may come.
_SMALL_BYTES: Final = 1 << 20


def decoded_size(metadata: pq.FileMetaData, leaves: Sequence[int], open_file: Callable[[], Any]) -> int:
    """Approximate bytes of the Arrow arrays of some leaf columns, of a file with one row group.

    A string that the file stores once in a dictionary may appear in every row. If that matters, the leaf is read as a
    dictionary to count how often. Raises: OSError, pa.ArrowException
    """
    return sum(_leaf_size(metadata, leaf, open_file) for leaf in leaves)


def _leaf_size(metadata: pq.FileMetaData, leaf: int, open_file: Callable[[], Any]) -> int:
    column = metadata.row_group(0).column(leaf)
    values, stored = column.num_values, column.total_uncompressed_size
    besides = values * _OFFSET_BYTES
    if column.physical_type in _WIDTH:
        return int(besides + values * _WIDTH[column.physical_type])
    if column.physical_type != "BYTE_ARRAY":
        width = metadata.schema.column(leaf).length
        return int(besides + values * width)
    path = column.path_in_schema
    flat_text = "." not in path or metadata.schema.column(leaf).max_repetition_level == 0
    is_text = str(metadata.schema.column(leaf).logical_type) == "String"
    if path in overflow.DICTIONARIES and stored > _SMALL_BYTES:
        # Where a dictionary became too large for its page the file has the rest of the texts once for each row.
        return int(besides + _read_as_dictionary(metadata, leaf, path, open_file).dictionary.nbytes)
    if (flat_text and is_text) or path in overflow.DICTIONARIES or "RLE_DICTIONARY" not in column.encodings:
        return int(besides + stored)
    if values * stored <= _SMALL_BYTES:
        return int(besides + values * stored)
    return int(besides + _text_bytes(metadata, leaf, path, open_file))


def _text_bytes(metadata: pq.FileMetaData, leaf: int, path: str, open_file: Callable[[], Any]) -> int:
    array = _read_as_dictionary(metadata, leaf, path, open_file)
    lengths = pc.binary_length(array.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0)


def _read_as_dictionary(metadata: pq.FileMetaData, leaf: int, path: str, open_file: Callable[[], Any]) -> Any:
    file = pq.ParquetFile(open_file(), metadata=metadata, read_dictionary=[path], pre_buffer=False)
    table = file.reader.read_row_group(0, column_indices=[leaf], use_threads=False)
    array = one_array(table.column(0))
    while not pa.types.is_dictionary(array.type):
        array = list_values(array) if pa.types.is_list(array.type) else array.field(0)
    return array
