"""Native histograms as the fields of a remote-write Histogram: the same in versions 1.0 and 2.0."""

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from agents.generator.series.native import ZERO, ZERO_THRESHOLD
from agents.generator.series.snapshot import Natives
from tables.columns.types import Int64s
from tables.columns.varint import varint, varints, widths, zigzag, zigzags

_COUNT_INT, _COUNT_FLOAT, _SUM, _SCHEMA = b"\x08", b"\x11", b"\x19", b"\x20"
_THRESHOLD: Final = b"\x29" + struct.pack("<d", ZERO_THRESHOLD)
_ZERO_INT, _ZERO_FLOAT = b"\x30", b"\x39"
_SPAN: Final = 0x5A
_DELTAS, _COUNTS, _TIME = b"\x62", b"\x6a", b"\x78"
_OFFSET, _LENGTH = 0x08, 0x10  # of a BucketSpan


def zero_histogram(schema: int, time: bytes, total: bytes, *, float_counts: bool) -> bytes:
    """One that nothing was counted in. total: its sum, 8 bytes; time: a varint."""
    return _head(0.0, 0.0, total, schema, float_counts=float_counts) + _TIME + time


def _head(count: float, zeros: float, total: bytes, schema: int, *, float_counts: bool) -> bytes:
    # Zeros are written, too: they say which of the two kinds of counts it has.
    if float_counts:
        counted, zero = _COUNT_FLOAT + struct.pack("<d", count), _ZERO_FLOAT + struct.pack("<d", zeros)
    else:
        counted, zero = _COUNT_INT + varint(int(count)), _ZERO_INT + varint(int(zeros))
    return counted + _SUM + total + _SCHEMA + varint(zigzag(schema)) + _THRESHOLD + zero


def histogram_fields(natives: Natives, time: bytes) -> list[bytes]:
    """Each series' histogram. time: a varint."""
    state = natives.state
    series = len(state.series)
    if not series:
        return []
    counts = np.add.reduceat(state.counts, state.starts[:-1])
    is_zero = state.indices == ZERO
    owner = np.repeat(np.arange(series), np.diff(state.starts))
    zeros = np.bincount(owner[is_zero], state.counts[is_zero], series)
    indices, owner, buckets = state.indices[~is_zero], owner[~is_zero], state.counts[~is_zero]
    firsts = np.searchsorted(owner, np.arange(series + 1))
    spans, span_ends = _spans(indices, owner, series)
    packed, packed_ends = _packed(buckets, firsts, float_counts=natives.float_counts)
    tag = _COUNTS if natives.float_counts else _DELTAS
    sums = np.ascontiguousarray(natives.sums, "<f8").tobytes()
    out = []
    columns = zip(counts.tolist(), zeros.tolist(), state.schemas.tolist(), strict=True)
    for number, (count, zero, schema) in enumerate(columns):
        total = sums[8 * number : 8 * number + 8]
        head = _head(count, zero, total, schema, float_counts=natives.float_counts)
        values = packed[packed_ends[number] : packed_ends[number + 1]]
        listed = tag + varint(len(values)) + values if values else b""
        out.append(head + spans[span_ends[number] : span_ends[number + 1]] + listed + _TIME + time)
    return out


def _spans(indices: Int64s, owner: Int64s, series: int) -> tuple[bytes, list[int]]:
    """Runs of neighbouring buckets as BucketSpans, and where those of each series begin and end."""
    begins = np.ones(len(indices), np.bool_)
    begins[1:] = (owner[1:] != owner[:-1]) | (indices[1:] != indices[:-1] + 1)
    first = np.flatnonzero(begins)
    lengths = np.diff(np.append(first, len(indices)))
    # The first run of a series says where it begins, the others how many buckets after the run before.
    offsets = indices[first].copy()
    later = np.flatnonzero(owner[first][1:] == owner[first][:-1]) + 1
    offsets[later] -= indices[first[later] - 1] + 1
    parts: list[Any] = [zigzags(offsets), lengths.astype(np.uint64)]
    size = (2 + widths(parts[0]) + widths(parts[1])).astype(np.uint64)
    fields = np.empty((len(first), 6), np.uint64)
    for column, values in enumerate((_SPAN, size, _OFFSET, parts[0], _LENGTH, parts[1])):
        fields[:, column] = values
    out, bounds = varints(fields.ravel())
    of_series = np.searchsorted(owner[first], np.arange(series + 1))
    return out, bounds[6 * of_series].tolist()


def _packed(counts: npt.NDArray[np.float64], firsts: Int64s, *, float_counts: bool) -> tuple[bytes, list[int]]:
    """Counts of buckets: as they are, or each as the difference to the one before."""
    if float_counts:
        return np.ascontiguousarray(counts, "<f8").tobytes(), (8 * firsts).tolist()
    whole = counts.astype(np.int64)
    deltas = np.diff(whole, prepend=0)
    starts = firsts[:-1][firsts[:-1] < firsts[1:]]
    deltas[starts] = whole[starts]
    out, bounds = varints(zigzags(deltas))
    return out, bounds[firsts].tolist()
