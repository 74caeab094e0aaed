"""HPACK blocks of plain fields, as clients of gRPC send them. The library takes 40 µs for such a block, this 8.

What is not plain (sizes of the table, numbers of three bytes, what is cut or wrong) is left to the library, which
has not begun with the block then. The table is the library's.
Source: RFC 7541, section 6
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman

_BLOCK_BYTES_MAX: Final = 1024
_INDEXED, _INDEXING, _RESIZE, _HUFFMAN = 0x80, 0x40, 0x20, 0x80
# All ones: the number goes on in the next byte.
_INDEX_MAX, _NEW_NAME_MAX, _NAME_MAX, _LENGTH_MAX = 0x7F, 0x3F, 0x0F, 0x7F
_LAST_MAX: Final = 0x7F  # of a number's last byte
_ENTRY_BYTES: Final = 32  # that an entry counts besides its name and value


class _Literal(NamedTuple):
    """A field whose value is in the block. name: bytes, or a number of the table; becomes_entry: of the table"""

    becomes_entry: bool
    name: int | bytes
    value: bytes


def decode_plain(decoder: Any, block: bytes) -> list[tuple[bytes, bytes]] | None:
    """The headers of a block of plain fields; None if it is none, and nothing has changed.

    decoder: an hpack.Decoder, whose table the block uses and changes
    Raises: HPACKError
    """
    table = decoder.header_table
    if len(block) > _BLOCK_BYTES_MAX or table.maxsize > decoder.max_allowed_table_size:
        return None
    try:
        fields = _fields(block)
    except (IndexError, HPACKError):
        return None
    if fields is None:
        return None
    headers: list[tuple[bytes, bytes]] = []
    size = 0
    for field in fields:
        if isinstance(field, int):
            header = table.get_by_index(field)
        else:
            becomes_entry, name, value = field
            header = table.get_by_index(name)[0] if isinstance(name, int) else name, value
            if becomes_entry:
                table.add(*header)
        headers.append(header)
        size += len(header[0]) + len(header[1]) + _ENTRY_BYTES
    if size > decoder.max_header_list_size:
        raise OversizedHeaderListError(f"headers of {size} bytes")
    return headers


def _fields(block: bytes) -> list[int | _Literal] | None:
    """Numbers of the table, and literals. None if there is anything else. Raises: IndexError, HPACKError"""
    found: list[int | _Literal] = []
    at, end = 0, len(block)
    while at < end:
        first = block[at]
        at += 1
        if first & _INDEXED:
            index = first & _INDEX_MAX
            if index == _INDEX_MAX:
                index, at = _more(block, at, index)
            elif not index:
                return None
            found.append(index)
            continue
        becomes_entry = bool(first & _INDEXING)
        if not becomes_entry and first & _RESIZE:
            return None
        most = _NEW_NAME_MAX if becomes_entry else _NAME_MAX
        index = first & most
        name: int | bytes = index
        if index == most:
            name, at = _more(block, at, index)
        elif not index:
            name, at = _text(block, at)
        value, at = _text(block, at)
        found.append(_Literal(becomes_entry, name, value))
    return found


def _more(block: bytes, at: int, number: int) -> tuple[int, int]:
    """A number that goes on with one byte, and where it ends. Raises: IndexError if it is longer"""
    more = block[at]
    if more > _LAST_MAX:
        raise IndexError
    return number + more, at + 1


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    """A text of the block, and where it ends. Raises: IndexError if it is not there, or long; HPACKError"""
    first = block[at]
    length, at = first & _LENGTH_MAX, at + 1
    if length == _LENGTH_MAX:
        length, at = _more(block, at, length)
    end = at + length
    if end > len(block):
        raise IndexError
    return (_unpacked(block[at:end]) if first & _HUFFMAN else block[at:end]), end


@lru_cache(1024)  # tenants' names, which come again and again
def _unpacked(text: bytes) -> bytes:
    return decode_huffman(text)
