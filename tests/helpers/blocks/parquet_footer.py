"""Rewrites a Parquet footer: lists of three groups, as Arrow writes them, become bare repeated fields.

The levels of the values are the same where neither list nor element is optional, so the pages stay as they are.
"""

from typing import Any

from tables.columns.varint import varint, zigzag
from tables.parquet.thrift import BINARY, BYTE, DOUBLE, FALSE, LIST, SET, STRUCT, TRUE, ThriftReader

_END = 8  # length of the footer, and the magic number
Struct = dict[int, tuple[int, Any]]

_SCHEMA, _ROW_GROUPS, _COLUMNS, _META, _PATH = 2, 4, 1, 3, 3
_REPETITION, _NAME, _CHILDREN = 3, 4, 5
_REPEATED = 2


def bare_repeated(data: bytes) -> bytes:
    """A Parquet file whose lists are bare repeated fields. In: one whose lists and elements are all required"""
    size = int.from_bytes(data[-_END:-4], "little")
    start = len(data) - _END - size
    footer = _struct(ThriftReader(data[start:-_END]))
    elements, _ = _node(footer[_SCHEMA][1][1], 0)
    footer[_SCHEMA] = (LIST, (STRUCT, elements))
    for group in footer[_ROW_GROUPS][1][1]:
        for column in group[_COLUMNS][1][1]:
            path = b".".join(column[_META][1][_PATH][1][1]).replace(b".list.element", b"")
            column[_META][1][_PATH] = (LIST, (BINARY, path.split(b".")))
    made = _write_struct(footer)
    return data[:start] + made + len(made).to_bytes(4, "little") + data[-4:]


def _node(elements: list[Struct], at: int) -> tuple[list[Struct], int]:
    """The schema below elements[at], and where the next one begins."""
    own = dict(elements[at])
    children = own[_CHILDREN][1] if _CHILDREN in own else 0
    if children == 1 and elements[at + 1][_NAME][1] == b"list":
        element, end = _node(elements, at + 2)
        first = dict(element[0])
        first[_NAME] = own[_NAME]
        first[_REPETITION] = (own[_REPETITION][0], _REPEATED)
        return [first, *element[1:]], end
    out, end = [own], at + 1
    for _ in range(children):
        below, end = _node(elements, end)
        out += below
    return out, end


# ---- Thrift's compact protocol, any value


def _struct(reader: ThriftReader) -> Struct:
    return {number: (type_, _value(reader, type_)) for number, type_ in reader.fields()}


def _value(reader: ThriftReader, type_: int) -> Any:
    if type_ in (TRUE, FALSE):
        return type_ == TRUE
    if type_ == BINARY:
        return reader.binary()
    if type_ == STRUCT:
        return _struct(reader)
    if type_ in (LIST, SET):
        inner = reader.data[reader.at] & 15
        return inner, [_value(reader, inner) for _ in reader.structs()]
    if type_ == BYTE:
        reader.at += 1
        return reader.data[reader.at - 1]
    assert type_ != DOUBLE, "no footer has one"
    return reader.number()


def _write_struct(fields: Struct) -> bytes:
    out, last = b"", 0
    for number, (type_, value) in sorted(fields.items()):
        kind = (TRUE if value else FALSE) if type_ in (TRUE, FALSE) else type_
        out += bytes([(number - last) << 4 | kind])
        out += b"" if type_ in (TRUE, FALSE) else _write(type_, value)
        last = number
    return out + b"\0"


def _write(type_: int, value: Any) -> bytes:
    if type_ == BINARY:
        return varint(len(value)) + value
    if type_ == STRUCT:
        return _write_struct(value)
    if type_ in (LIST, SET):
        inner, items = value
        head = bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([0xF0 | inner]) + varint(len(items))
        return head + b"".join(_write(inner, item) for item in items)
    if type_ == BYTE:
        return bytes([value])
    return varint(zigzag(value))
