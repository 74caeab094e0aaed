"""What in a damaged footer ends the process: Arrow throws where nothing catches it. Checked before Arrow looks at it.

Only for footers that no checksum covers: those of earlier versions, and of other programs.
Source: github.com/apache/parquet-format, parquet.thrift; Arrow's ColumnChunkMetaData, whose constructor throws
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow.parquet as pq

from tables.errors import DamagedError
from tables.parquet import thrift
from tables.parquet.footer import END_BYTES, footer_start

_ROW_GROUPS: Final = 4  # of FileMetaData
_COLUMNS: Final = 1  # of RowGroup
_META, _ENCRYPTION, _ENCRYPTED_META = 3, 8, 9  # of ColumnChunk
# Of ColumnMetaData; _SIZES: SizeStatistics.
_TYPE, _ENCODINGS, _CODEC, _SIZE_BYTES, _DATA_PAGE, _DICTIONARY_PAGE, _SIZES = 1, 2, 4, 7, 9, 11, 16
_REPETITIONS, _DEFINITIONS = 2, 3  # of SizeStatistics
# The numbers that parquet.thrift gives them.
_TYPES: Final = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_CODECS: Final = range(8)
_KNOWN_ENCODINGS: Final = range(10)


@dataclass(slots=True)
class _Chunk:
    """What a footer says of a column's chunk.

    data, dictionary: offsets of its first pages, of size_bytes in all
    repetitions, definitions: sizes of its histograms of levels, 0: it has none
    """

    type: int = -1
    codec: int = -1
    encodings: Sequence[int] = ()
    data: int = -1
    dictionary: int | None = None
    size_bytes: int = -1
    repetitions: int = 0
    definitions: int = 0
    encrypted: bool = False

    def lies_within(self, size_bytes: int) -> bool:
        """Whether a file of so many bytes can have it."""
        starts = [self.data] if self.dictionary is None else [self.data, self.dictionary]
        return min(*starts, self.size_bytes, 1) >= 0 and min(starts) + self.size_bytes <= size_bytes


def read_guarded(name: str, source: Any) -> pq.FileMetaData:
    """A file's metadata, which can be looked into. In: a RangeFile, or a pyarrow file. Raises: DamagedError

    Besides: what reading raises.
    """
    metadata = pq.read_metadata(source)
    data = _footer(source)
    # Not metadata.schema: that one and the metadata know each other, and so stay for good.
    schema = pq.ParquetSchema(metadata)
    columns = [schema.column(number) for number in range(len(schema))]
    try:
        for chunks in _row_groups(data):
            if problem := _problem(chunks, columns, source.size()):
                raise DamagedError(name, problem)
    except (IndexError, ValueError) as err:
        raise DamagedError(name, f"has a footer that cannot be read: {err}") from err
    return metadata


def _problem(chunks: Sequence[_Chunk], columns: Sequence[Any], size_bytes: int) -> str:
    if len(chunks) != len(columns):
        return f"has {len(chunks)} chunks of {len(columns)} columns"
    for number, (chunk, column) in enumerate(zip(chunks, columns, strict=True)):
        if chunk.encrypted:
            return f"has an encrypted column, number {number}"
        type_ = _TYPES[chunk.type] if 0 <= chunk.type < len(_TYPES) else "?"
        if type_ != column.physical_type:
            return f"has values of type {type_} in column {number} of type {column.physical_type}"
        if chunk.codec not in _CODECS or not {*chunk.encodings} <= {*_KNOWN_ENCODINGS}:
            return f"has a column, number {number}, of an unknown codec or encoding"
        if not chunk.lies_within(size_bytes):
            return f"has a column, number {number}, that lies outside of it"
        levels = column.max_repetition_level + 1, column.max_definition_level + 1
        if chunk.repetitions not in (0, levels[0]) or chunk.definitions not in (0, levels[1]):
            return f"has statistics of other levels than column {number} has"
    return ""


def _footer(source: Any) -> bytes:
    size = source.size()
    source.seek(max(0, size - END_BYTES))
    end = source.read(END_BYTES)
    length = END_BYTES + int.from_bytes(end[:4], "little")
    source.seek(max(0, size - length))
    data = bytes(source.read(length))
    source.seek(0)
    return data[footer_start(memoryview(data)) :]


def _row_groups(footer: bytes) -> Iterator[list[_Chunk]]:
    reader = thrift.ThriftReader(footer)
    for number, type_ in reader.fields():
        if number != _ROW_GROUPS:
            reader.skip(type_)
            continue
        for _ in reader.structs():
            yield _row_group(reader)


def _row_group(reader: thrift.ThriftReader) -> list[_Chunk]:
    chunks: list[_Chunk] = []
    for number, type_ in reader.fields():
        if number == _COLUMNS:
            chunks += [_chunk(reader) for _ in reader.structs()]
        else:
            reader.skip(type_)
    return chunks


def _chunk(reader: thrift.ThriftReader) -> _Chunk:
    found = _Chunk()
    for number, type_ in reader.fields():
        if number == _META and type_ == thrift.STRUCT:
            _take_meta(reader, found)
            continue
        found.encrypted |= number in (_ENCRYPTION, _ENCRYPTED_META)
        reader.skip(type_)
    return found


def _take_meta(reader: thrift.ThriftReader, found: _Chunk) -> None:
    for number, type_ in reader.fields():
        if number == _TYPE and type_ == thrift.I32:
            found.type = reader.number()
        elif number == _CODEC and type_ == thrift.I32:
            found.codec = reader.number()
        elif number == _ENCODINGS and type_ == thrift.LIST:
            found.encodings = [reader.number() for _ in reader.structs()]
        elif number == _SIZE_BYTES and type_ == thrift.I64:
            found.size_bytes = reader.number()
        elif number == _DATA_PAGE and type_ == thrift.I64:
            found.data = reader.number()
        elif number == _DICTIONARY_PAGE and type_ == thrift.I64:
            found.dictionary = reader.number()
        elif number == _SIZES and type_ == thrift.STRUCT:
            _take_sizes(reader, found)
        else:
            reader.skip(type_)


def _take_sizes(reader: thrift.ThriftReader, found: _Chunk) -> None:
    for number, type_ in reader.fields():
        start = reader.at
        if number == _REPETITIONS and type_ == thrift.LIST:
            found.repetitions = len(reader.structs())
        elif number == _DEFINITIONS and type_ == thrift.LIST:
            found.definitions = len(reader.structs())
        reader.at = start
        reader.skip(type_)
