"""Variable-length integers of Protobuf and Thrift: seven bits per byte, the lowest first."""

from typing import Final

import numpy as np
import numpy.typing as npt

_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(1 << 7))


def varint(number: int) -> bytes:
    """A number of 0 or more as a varint."""
    if number < 1 << 7:  # most are small
        return _ONE_BYTE[number]
    if number < 1 << 14:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 1 << 21:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if number < 1 << 28:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14 & 0x7F | 0x80, number >> 21))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number: int) -> int:
    """A signed number as an unsigned one: small numbers stay small."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def zigzags(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """As `zigzag`, for an array."""
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def widths(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The length in bytes of each number as a varint."""
    out = np.ones(len(numbers), np.int64)
    most, shift = int(numbers.max(initial=0)), 7
    while most >> shift:
        out += numbers >= np.uint64(1 << shift)
        shift += 7
    return out


def varints(numbers: npt.NDArray[np.uint64]) -> tuple[bytes, npt.NDArray[np.int64]]:
    """All numbers as varints, concatenated, and their bounds: number n is bytes[bounds[n] : bounds[n + 1]]."""
    width = widths(numbers)
    bounds = np.zeros(len(numbers) + 1, np.int64)
    np.cumsum(width, out=bounds[1:])
    out = np.zeros(int(bounds[-1]), np.uint8)
    rows, at = np.arange(len(numbers)), 0
    while len(rows):
        more = width[rows] > at + 1
        low = (numbers[rows] >> np.uint64(7 * at)) & np.uint64(0x7F)
        out[bounds[rows] + at] = low | np.where(more, np.uint64(0x80), np.uint64(0))
        rows, at = rows[more], at + 1
    return out.tobytes(), bounds


def signed_varints(data: bytes) -> npt.NDArray[np.int64]:
    """The numbers that zigzag varints are, one behind the other."""
    numbers = unsigned_varints(data)
    return (numbers >> np.uint64(1)).view(np.int64) ^ -(numbers & np.uint64(1)).view(np.int64)


def unsigned_varints(data: bytes) -> npt.NDArray[np.uint64]:
    """The numbers that varints are, one behind the other."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    starts = np.r_[0, ends + 1][:-1]
    shifts = 7 * (np.arange(len(raw)) - np.repeat(starts, ends - starts + 1))
    bits = (raw & np.uint8(0x7F)).astype(np.uint64) << shifts.astype(np.uint64)
    return np.bitwise_or.reduceat(bits, starts) if len(starts) else bits
