"""What the footer of an undamaged file looks like, as patterns of bytes. Most footers are checked by them: one of 98
columns in 0.6 ms, where it takes 2 to 3 ms to read it field by field.

They know files with one row group, with the fields that Arrow and Stretto write, in their order. They say nothing about
any other footer: whoever asks reads that one field by field.
Source: github.com/apache/parquet-format, parquet.thrift (the names below)
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final, NamedTuple

import numpy as np

from tables.columns.types import Int64s
from tables.columns.varint import signed_varints, varint
from tables.parquet import thrift

TYPES: Final = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
CODECS: Final = range(8)
ENCODINGS: Final = range(10)
_TEXT_BYTES_MAX: Final = 255  # of a name or a value
_PATH_MAX: Final = 6  # names in a column's path
_COLUMN_ORDER: Final = b"\x1c\0\0"  # TYPE_ORDER = 1, a struct without fields


class LeafSchema(NamedTuple):
    """What the schema says of a leaf column.

    width: bytes of a value, 0: they differ. repetition_levels, definition_levels: how many there are
    """

    type: str
    width: int
    repetition_levels: int
    definition_levels: int


def looks_right(footer: bytes, leaves: Sequence[LeafSchema], size_bytes: int) -> bool:
    """Whether the chunks are those of a file of `size_bytes` with these leaf columns. False: they may be, or not."""
    patterns = _patterns()
    head = patterns.head.match(footer)
    if head is None or _count(head["chunks"]) != len(leaves):
        return False
    if _count(head["elements"]) != _element_count(head["schema"]):
        return False
    found = patterns.chunk.findall(footer, head.end())[: len(leaves)]
    if len(found) != len(leaves):
        return False
    wholes, types, encodings, codecs, sizes, data_pages, dictionary_pages, *facts = zip(*found, strict=True)
    chunks = b"".join(wholes)
    if not footer.startswith(chunks, head.end()) or not _ends(footer, head.end() + len(chunks), len(leaves)):
        return False
    if not all(map(_fits, leaves, types, encodings, codecs, map(bool, dictionary_pages), *facts)):
        return False
    return _lie_within(sizes, data_pages, dictionary_pages, size_bytes)


def _ends(footer: bytes, at: int, leaf_count: int) -> bool:
    """Whether behind the chunks there are no others: fields of one struct have ascending numbers."""
    group = _patterns().group_end.match(footer, at)
    if group is None:
        return False
    reader = thrift.ThriftReader(footer, group.end())
    orders = _COLUMN_ORDER * leaf_count
    last = 0  # above that of the row groups
    for number, type_ in reader.fields():
        if number <= last:
            return False
        last = number
        start = reader.at
        if type_ == thrift.LIST and len(reader.structs()) == leaf_count and footer.startswith(orders, reader.at):
            reader.at += len(orders)
        else:
            reader.at = start
            reader.skip(type_)
    return True


def _lie_within(sizes: Sequence[bytes], data: Sequence[bytes], dictionaries: Sequence[bytes], size_bytes: int) -> bool:
    """Whether all pages do. In: for each chunk its size and the offsets of its first pages, b"": it has none"""
    size = signed_varints(b"".join(sizes))
    starts: Int64s = signed_varints(b"".join(data))
    if dictionaries:
        has = np.array([bool(one) for one in dictionaries])
        first = signed_varints(b"".join(dictionaries))
        starts[has] = np.minimum(starts[has], first)
    # Not the sum, which may be more than an int64 takes.
    return bool(starts.min() >= 0 and size.min() >= 0 and (size <= size_bytes - starts).all())


@lru_cache(maxsize=4096)
def _fits(
    leaf: LeafSchema,
    type_: bytes,
    encodings: bytes,
    codec: bytes,
    has_dictionary: bool,  # noqa: FBT001  # `map` calls it
    *facts: bytes,
) -> bool:
    """Whether what a chunk says of itself fits what the schema says. Most chunks are like others.

    facts: the header of its statistics and the first bytes of the values in them, the headers of encoding_stats and of
    size_statistics, and those of the lists of levels in the latter; b"": it has none
    """
    statistics, *lengths, encoding_stats, size_statistics, repetitions, definitions = facts
    last = 11 if has_dictionary else 9
    for header, number in ((statistics, 12), (encoding_stats, 13), (size_statistics, 16)):
        if header:
            if header[0] >> 4 != number - last:
                return False
            last = number
    return (
        type_ == thrift.number(TYPES.index(leaf.type))
        and codec[0] % 2 == 0
        and codec[0] // 2 in CODECS
        and all(each % 2 == 0 and each // 2 in ENCODINGS for each in encodings[1:])
        and leaf.width <= 0x7F
        and all(not each or each[0] >= leaf.width for each in lengths)
        and (not size_statistics or repetitions[0] >> 4 in (0, leaf.repetition_levels))
        and (not size_statistics or definitions[0] >> 4 in (0, leaf.definition_levels))
    )


@lru_cache(maxsize=256)
def _element_count(schema: bytes) -> int:
    """Most files have the columns of their neighbours."""
    return len(_patterns().element.findall(schema))


def _count(header: bytes) -> int:
    return len(thrift.ThriftReader(header).structs())


class _Patterns(NamedTuple):
    """head: what stands before the chunks; element: a SchemaElement; group_end: the RowGroup behind its chunks"""

    head: re.Pattern[bytes]
    element: re.Pattern[bytes]
    chunk: re.Pattern[bytes]
    group_end: re.Pattern[bytes]


@cache
def _patterns() -> _Patterns:
    number = rb"(?>[\x80-\xff]{0,9}[\x00-\x7f])"
    text = _one_of([re.escape(varint(size)) + b".{%d}" % size for size in range(_TEXT_BYTES_MAX + 1)])
    flag = _field(thrift.TRUE, thrift.FALSE)
    scalar = _one_of([flag, _field(thrift.BYTE) + b".", _field(thrift.I16, thrift.I32, thrift.I64) + number])
    # LogicalType is a union of structs, and a time's unit is one again.
    struct = b"(?>%b*+\\x00)" % scalar
    for _ in range(2):
        struct = b"(?>(?>%b|%b%b)*+\\x00)" % (scalar, _field(thrift.STRUCT), struct)
    element = b"(?>(?>%b|%b%b|%b%b)*+\\x00)" % (scalar, _field(thrift.BINARY), text, _field(thrift.STRUCT), struct)
    count = b"(?>%b|\\xfc%b)" % (_list(thrift.STRUCT, b""), number)
    head = rb"\x15%b\x19(?P<elements>%b)(?P<schema>%b*+)\x16%b\x19\x1c\x19(?P<chunks>%b)" % (
        *(number, count, element, number, count),
    )
    flat = b"(?>%b*+\\x00)" % scalar
    group_end = b"(?>%b|%b%b)*+\\x00" % (scalar, _field(thrift.LIST), _list(thrift.STRUCT, flat))
    return _Patterns(*(re.compile(each, re.DOTALL) for each in (head, element, _chunk(number, text, flat), group_end)))


def _chunk(number: bytes, text: bytes, flat: bytes) -> bytes:
    """ColumnChunk: file_offset = 2, meta_data = 3, then the places of its indexes. Groups: the whole, as of
    `looks_right`, then as of `_fits`.
    """
    value = b"(?=(.))" + text
    histogram = b"(?=(.))" + _list(thrift.I64, number)
    counts = b"(?:%b%b){0,2}" % (_field(thrift.I64), number)
    flags = _field(thrift.TRUE, thrift.FALSE) + b"{0,2}"
    statistics = b"(?:(%b)(?:\\x18%b\\x18%b)?%b(?:%b%b\\x18%b)?%b\\x00)?" % (
        *(_field(thrift.STRUCT), value, value, counts, _field(thrift.BINARY), value, value, flags),
    )
    encoding_stats = b"(?:(%b)%b)?" % (_field(thrift.LIST), _list(thrift.STRUCT, flat))
    size_statistics = b"(?:(%b)(?:\\x16%b\\x19|\\x29)%b\\x19%b\\x00)?" % (
        *(_field(thrift.STRUCT), number, histogram, histogram),
    )
    meta = b"".join(
        [
            rb"\x15(?P<type>.)\x19(?P<encodings>%b)" % _list(thrift.I32, rb"[\x00-\x7f]"),
            rb"\x19%b\x15(?P<codec>[\x00-\x7f])" % _list(thrift.BINARY, text, _PATH_MAX),
            rb"\x16%b\x16%b\x16(?P<size>%b)\x26(?P<data>%b)" % (number, number, number, number),
            rb"(?:\x26(?P<dictionary>%b))?" % number,
            statistics + encoding_stats + size_statistics + rb"\x00",
        ]
    )
    return rb"(\x26%b\x1c%b(?:\x16%b\x15%b){0,2}\x00)" % (number, meta, number, number)


def _field(*types: int) -> bytes:
    """The header of a field of one of some types, whose number is above the one before it by 1 to 15."""
    return b"[%b]" % b"".join(b"\\x%02x" % (step << 4 | type_) for type_ in types for step in range(1, 16))


def _list(type_: int, item: bytes, most: int = 14) -> bytes:
    """A list of up to `most` items; up to 14 have their number in the header. item: b"": only the header"""
    items = [b"%b{%d}" % (item, count) if item else b"" for count in range(most + 1)]
    return _one_of([b"\\x%02x%b" % (count << 4 | type_, each) for count, each in enumerate(items)])


def _one_of(patterns: Sequence[bytes]) -> bytes:
    return b"(?>%b)" % b"|".join(patterns)
