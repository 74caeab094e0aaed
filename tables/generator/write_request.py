"""Series → a Prometheus remote-write 1.0 request (prometheus.WriteRequest), uncompressed.

A series' labels are encoded once, when it is created; a push then joins heads, eight bytes of value, and a time that
all of its samples share.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from tables.generator.labels import Labels

# A NaN that says "this series has ended here": prometheus/model/value/value.go, StaleNaN.
STALE: Final = struct.pack("<Q", 0x7FF0000000000002)
_ZERO: Final = struct.pack("<d", 0.0)

_SERIES: Final = b"\x0a"  # WriteRequest.timeseries, TimeSeries.labels, Label.name: all field 1, with a length
_LABEL_VALUE: Final = b"\x12"
_SAMPLE: Final = b"\x12\x10\x09"  # TimeSeries.samples of 16 bytes, then Sample.value
_SAMPLE_BYTES: Final = 18
_TIME: Final = b"\x10"  # Sample.timestamp
# Times take 6 bytes as a varint: all between 1971 and 2109.
_TIME_MIN_MS, _TIME_MAX_MS = 1 << 35, (1 << 42) - 1


def series_head(labels: Labels) -> bytes:
    """The series up to the value of its only sample. Labels in any order; empty values are left out."""
    ordered = sorted((name.encode(), value.encode()) for name, value in dict(labels).items() if value)
    block = b"".join(_label(name, value) for name, value in ordered)
    return _SERIES + varint(len(block) + _SAMPLE_BYTES) + block + _SAMPLE


def _label(name: bytes, value: bytes) -> bytes:
    body = _SERIES + varint(len(name)) + name + _LABEL_VALUE + varint(len(value)) + value
    return _SERIES + varint(len(body)) + body


def varint(number: int) -> bytes:
    """Protobuf's variable-length integer, from 0 on."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def requests(
    heads: Sequence[bytes],
    values: npt.NDArray[np.float64],
    created: npt.NDArray[np.bool_],
    stale: Sequence[bytes],
    time_ms: int,
    created_ms: int,
    series_max: int,
) -> Iterator[bytes]:
    """Requests of at most `series_max` series.

    values: one per head, at `time_ms`. created: a 0 at `created_ms` comes before, so that the first increase is one.
    stale: heads of series that have ended
    """
    for at in (time_ms, created_ms):
        if not _TIME_MIN_MS <= at <= _TIME_MAX_MS:
            raise ValueError(f"time {at} ms is not between 1971 and 2109: is the machine's clock wrong?")
    end = _TIME + varint(time_ms)
    zero = _ZERO + _TIME + varint(created_ms) + _SAMPLE
    raw = np.ascontiguousarray(values, "<f8").tobytes()
    texts = [raw[at : at + 8] for at in range(0, len(raw), 8)]
    for first in range(0, len(heads), series_max):
        parts: list[bytes] = []
        chosen = slice(first, first + series_max)
        for head, value, new in zip(heads[chosen], texts[chosen], created[chosen].tolist(), strict=True):
            parts += (_with_zero(head), zero, value, end) if new else (head, value, end)
        yield b"".join(parts)
    for first in range(0, len(stale), series_max):
        yield b"".join(part for head in stale[first : first + series_max] for part in (head, STALE, end))


def _with_zero(head: bytes) -> bytes:
    """The head of a series with two samples."""
    length_bytes = 1
    while head[length_bytes] & 0x80:
        length_bytes += 1
    block = head[1 + length_bytes : -len(_SAMPLE)]
    return _SERIES + varint(len(block) + 2 * _SAMPLE_BYTES) + block + _SAMPLE
