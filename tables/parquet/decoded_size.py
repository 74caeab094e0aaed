"""The size of a Parquet column in memory, estimated before it is decoded."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tables.columns import overflow
from tables.parquet.file_columns import innermost

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
    texts = TextLeaves(metadata, leaves, open_file)
    return sum(_leaf_size(metadata, leaf, texts) for leaf in leaves)


class TextLeaves:
    """Leaves of texts, read as dictionaries. The file is opened once for all of them, and only where one is asked for:
    opening takes longer than to read a leaf. They are read one by one, for they may be large.
    """

    def __init__(self, metadata: pq.FileMetaData, leaves: Sequence[int], open_file: Callable[[], Any]) -> None:
        self._metadata, self._leaves, self._open_file = metadata, leaves, open_file
        self._file: pq.ParquetFile | None = None

    def read(self, leaf: int) -> Any:
        """The values of a leaf, without the lists and structs around them, as DictionaryArray."""
        if self._file is None:
            columns = map(self._metadata.row_group(0).column, self._leaves)
            paths = [column.path_in_schema for column in columns if column.physical_type == "BYTE_ARRAY"]
            self._file = pq.ParquetFile(
                self._open_file(),
                metadata=self._metadata,
                read_dictionary=paths,
                pre_buffer=False,
                page_checksum_verification=True,
            )
        table = self._file.reader.read_row_group(0, column_indices=[leaf], use_threads=False)
        return innermost(table.column(0))


def _leaf_size(metadata: pq.FileMetaData, leaf: int, texts: TextLeaves) -> int:
    column = metadata.row_group(0).column(leaf)
    values, stored = column.num_values, column.total_uncompressed_size
    besides = values * _OFFSET_BYTES
    if column.physical_type in _WIDTH:
        return int(besides + values * _WIDTH[column.physical_type])
    if column.physical_type != "BYTE_ARRAY":
        width = _schema(metadata, leaf).length
        return int(besides + values * width)
    path = column.path_in_schema
    flat_text = "." not in path or _schema(metadata, leaf).max_repetition_level == 0
    is_text = str(_schema(metadata, leaf).logical_type) == "String"
    if path in overflow.DICTIONARIES and stored > _SMALL_BYTES:
        # Where a dictionary became too large for its page the file has the rest of the texts once for each row.
        return int(besides + texts.read(leaf).dictionary.nbytes)
    if (flat_text and is_text) or path in overflow.DICTIONARIES or "RLE_DICTIONARY" not in column.encodings:
        return int(besides + stored)
    if values * stored <= _SMALL_BYTES:
        return int(besides + values * stored)
    return int(besides + _text_bytes(texts.read(leaf)))


def _schema(metadata: pq.FileMetaData, leaf: int) -> Any:
    """Not by `metadata.schema`: that and the metadata would know each other, and so stay for good."""
    return pq.ParquetSchema(metadata).column(leaf)


def _text_bytes(array: Any) -> int:
    lengths = pc.binary_length(array.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
