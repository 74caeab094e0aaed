"""Columns of numbers as bytes that a browser reads without a parser: typed arrays behind a JSON header.

    4 bytes     the ASCII letters STC1
    4 bytes     length of the header in bytes, little-endian
    header      UTF-8 JSON, an object with at least `columns`: [{"name", "type", "offset", "length"}, …]
    columns     little-endian arrays, each at a multiple of 8 bytes from the first; `offset` counts from there

The header ends with spaces, so that the columns begin at a multiple of 8 bytes.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

MEDIA_TYPE: Final = "application/vnd.stretto.columns"
MAGIC: Final = b"STC1"
_ALIGN: Final = 8
# numpy's type → the word in the header.
_TYPES: Final[Mapping[str, str]] = {
    "<f8": "float64",
    "<i4": "int32",
    "<u4": "uint32",
    "<u2": "uint16",
    "|u1": "uint8",
}


def pack(facts: Mapping[str, Any], columns: Mapping[str, npt.NDArray[Any]]) -> list[bytes]:
    """The parts of a body, one after the other.

    facts: further fields of the header
    columns: arrays of one dimension; ids are bytes, eight uint8 for each
    """
    described, parts, offset = [], [], 0
    for name, array in columns.items():
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        described.append({"name": name, "type": _TYPES[array.dtype.str], "offset": offset, "length": len(array)})
        padded = -array.nbytes % _ALIGN
        parts.append(array.tobytes() + bytes(padded))
        offset += array.nbytes + padded
    header = orjson.dumps({**facts, "columns": described})
    header += b" " * (-(len(MAGIC) + 4 + len(header)) % _ALIGN)
    return [MAGIC + len(header).to_bytes(4, "little") + header, *parts]
