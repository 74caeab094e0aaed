"""The part of Thrift's compact protocol that Parquet's footers need.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Iterator
from typing import Final

from tables.columns.varint import varint

# Types of values.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
VARINTS: Final = (I64, I32, I16)
STOP: Final = b"\0"  # ends a struct
_LONG_LIST: Final = 15  # from this size on, a list's size is a varint behind its header


class ThriftReader:
    """Reads values one after the other. Truncated bytes raise IndexError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct. The caller must read or skip each value before the next."""
        data, number = self.data, 0
        while byte := data[self.at]:
            self.at += 1
            number = number + (byte >> 4) if byte >> 4 else self.number()
            yield number, byte & 15
        self.at += 1

    def structs(self) -> range:
        """Reads a list header; the caller reads one struct per iteration."""
        byte = self.data[self.at]
        self.at += 1
        return range(byte >> 4 if byte >> 4 < _LONG_LIST else self.varint())

    def number(self) -> int:
        """An integer of any width."""
        raw = self.varint()
        return (raw >> 1) ^ -(raw & 1)

    def binary(self) -> bytes:
        """A Thrift binary: plain bytes, or the UTF-8 of a string."""
        size = self.varint()
        self.at += size
        return self.data[self.at - size : self.at]

    def numbers(self) -> list[int]:
        """The values of a struct that has only integers, in order."""
        data = self.data
        values = []
        while byte := data[self.at]:
            self.at = self.at + 1 if byte >> 4 else skipped(data, self.at + 1, I16)
            values.append(self.number())
        self.at += 1
        return values

    def skip(self, type_: int) -> None:
        """Skips a field's value. Raises: ValueError for a type that Parquet does not use"""
        self.at = skipped(self.data, self.at, type_)

    def varint(self) -> int:
        """Seven bits a byte, the lowest first; all but the last have the high bit set."""
        data, at = self.data, self.at
        byte = data[at]
        if byte <= 0x7F:  # most are small
            self.at = at + 1
            return byte
        number, shift = byte & 0x7F, 7
        while byte > 0x7F:
            at += 1
            byte = data[at]
            number |= (byte & 0x7F) << shift
            shift += 7
        self.at = at + 1
        return number


def skipped(data: bytes, at: int, type_: int) -> int:
    """The end of the value that begins at `at`. Most of a footer is skipped this way."""
    if type_ in VARINTS:
        while data[at] > 0x7F:
            at += 1
        return at + 1
    if type_ == STRUCT:
        while byte := data[at]:
            # A field whose number is not near that of the one before has it in full.
            at = skipped(data, at + 1 if byte >> 4 else skipped(data, at + 1, I16), byte & 15)
        return at + 1
    if type_ in (TRUE, FALSE):  # which are in the field's header
        return at
    if type_ in (BYTE, DOUBLE):
        return at + (8 if type_ == DOUBLE else 1)
    if type_ not in (BINARY, LIST, SET):
        raise ValueError(f"Thrift type {type_} at byte {at} is none that Parquet uses")
    reader = ThriftReader(data, at)
    if type_ == BINARY:
        reader.binary()
        return reader.at
    inner = data[at] & 15
    count = len(reader.structs())
    at = reader.at
    for _ in range(count):
        at = skipped(data, at, BYTE if inner in (TRUE, FALSE) else inner)
    return at


def field(step: int, type_: int, value: bytes) -> bytes:
    """A field whose number is `step` (at most 15) above the number of the field before it."""
    return bytes([step << 4 | type_]) + value


def number(value: int) -> bytes:
    """An integer of any width, 0 or more."""
    return varint(value << 1)


def binary(value: bytes) -> bytes:
    """A Thrift binary: plain bytes, or the UTF-8 of a string."""
    return varint(len(value)) + value


def structs(count: int) -> bytes:
    """The header of a list with `count` structs."""
    return bytes([count << 4 | STRUCT]) if count < _LONG_LIST else bytes([_LONG_LIST << 4 | STRUCT]) + varint(count)
