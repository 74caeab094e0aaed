"""What in a damaged footer ends the process: Arrow throws where nothing catches it. Checked before anybody looks there.

Only for footers that no checksum covers: those of earlier versions, and of other programs. Their bytes are read once,
for Arrow and for the check.
Source: github.com/apache/parquet-format, parquet.thrift; Arrow's ColumnChunkMetaData, whose constructor throws, and
Statistics, whose constructor does
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tables.errors import DamagedError
from tables.parquet import thrift
from tables.parquet.footer import END_BYTES, footer_start
from tables.parquet.footer_pattern import CODECS, ENCODINGS, TYPES, LeafSchema, looks_right

# Of a file's end, at first: most footers are smaller. Arrow reads as much.
_END_BYTES_READ: Final = 64 << 10

_ROW_GROUPS: Final = 4  # of FileMetaData
_COLUMNS: Final = 1  # of RowGroup
_META, _ENCRYPTION, _ENCRYPTED_META = 3, 8, 9  # of ColumnChunk
# Of ColumnMetaData; _SIZES: SizeStatistics.
_TYPE, _ENCODINGS, _CODEC, _SIZE_BYTES, _DATA_PAGE, _DICTIONARY_PAGE, _STATISTICS, _SIZES = 1, 2, 4, 7, 9, 11, 12, 16
_BOUNDS: Final = (1, 2, 5, 6)  # of Statistics: max, min, max_value, min_value
_REPETITIONS, _DEFINITIONS = 2, 3  # of SizeStatistics
# Bytes of a value.
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


@dataclass(slots=True)
class _Chunk:
    """What a footer says of a column's chunk.

    data, dictionary: offsets of its first pages, of size_bytes in all
    bounds: bytes of the values in its statistics
    repetitions, definitions: sizes of its histograms of levels, 0: it has none
    """

    type: int = -1
    codec: int = -1
    encodings: Sequence[int] = ()
    data: int = -1
    dictionary: int | None = None
    size_bytes: int = -1
    bounds: list[int] = field(default_factory=list)
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
    end, size_bytes = _read_end(source), source.size()
    metadata = pq.read_metadata(pa.BufferReader(pa.py_buffer(end)))
    leaves = _leaves(metadata)
    try:
        # Without the footer's length and the magic number.
        footer = bytes(memoryview(end)[footer_start(memoryview(end)) : -END_BYTES])
        if looks_right(footer, leaves, size_bytes):
            return metadata
        for chunks in _row_groups(footer):
            if problem := _problem(chunks, leaves, size_bytes):
                raise DamagedError(name, problem)
    except (IndexError, ValueError) as err:
        raise DamagedError(name, f"has a footer that cannot be read: {err}") from err
    return metadata


def _read_end(source: Any) -> bytes:
    """The end of a file, from its footer on or from before it, in one read; in two where the footer is large."""
    size = source.size()
    end = _last_bytes(source, size, min(size, _END_BYTES_READ))
    length = END_BYTES + int.from_bytes(end[-END_BYTES:-4], "little")
    return end if length <= len(end) else _last_bytes(source, size, min(size, length))


def _last_bytes(source: Any, size: int, count: int) -> bytes:
    source.seek(size - count)
    return bytes(source.read(count))


def _leaves(metadata: pq.FileMetaData) -> list[LeafSchema]:
    # Not metadata.schema: that one and the metadata know each other, and so stay for good.
    schema = pq.ParquetSchema(metadata)
    found = []
    for column in map(schema.column, range(len(schema))):
        type_ = column.physical_type
        width = column.length if type_ == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(type_, 0)
        found.append(LeafSchema(type_, width, column.max_repetition_level + 1, column.max_definition_level + 1))
    return found


def _problem(chunks: Sequence[_Chunk], leaves: Sequence[LeafSchema], size_bytes: int) -> str:
    if len(chunks) != len(leaves):
        return f"has {len(chunks)} chunks of {len(leaves)} columns"
    for number, (chunk, leaf) in enumerate(zip(chunks, leaves, strict=True)):
        if chunk.encrypted:
            return f"has an encrypted column, number {number}"
        type_ = TYPES[chunk.type] if 0 <= chunk.type < len(TYPES) else "?"
        if type_ != leaf.type:
            return f"has values of type {type_} in column {number} of type {leaf.type}"
        if chunk.codec not in CODECS or not {*chunk.encodings} <= {*ENCODINGS}:
            return f"has a column, number {number}, of an unknown codec or encoding"
        if not chunk.lies_within(size_bytes):
            return f"has a column, number {number}, that lies outside of it"
        if any(length < leaf.width for length in chunk.bounds):
            return f"has statistics with shorter values than column {number} has"
        levels = leaf.repetition_levels, leaf.definition_levels
        if chunk.repetitions not in (0, levels[0]) or chunk.definitions not in (0, levels[1]):
            return f"has statistics of other levels than column {number} has"
    return ""


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
        elif number == _STATISTICS and type_ == thrift.STRUCT:
            _take_statistics(reader, found)
        elif number == _SIZES and type_ == thrift.STRUCT:
            _take_sizes(reader, found)
        else:
            reader.skip(type_)


def _take_statistics(reader: thrift.ThriftReader, found: _Chunk) -> None:
    for number, type_ in reader.fields():
        if number in _BOUNDS and type_ == thrift.BINARY:
            found.bounds.append(len(reader.binary()))
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
