"""Quantile sketches of many cells at once: a mergeable summary in the manner of DDSketch, as sorted numpy arrays.

A cell is one group in one interval. Up to EXACT_MAX values of a cell are kept as they are, so that its quantiles are
exact. Of more values only counts per bucket are kept; a bucket's middle is within RELATIVE_ERROR of every number in
it, whatever its size: 1e-300, 1, 1e300. Zero has a bucket of its own, and negative numbers have theirs.

Which form a cell has follows from how many values it has in all, and a value's bucket from the value alone. So the
sketch of some values is the same however they were split before they were merged.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from query.scan.arrays import run_starts
from tables.columns.types import Floats, Int64s

EXACT_MAX: Final = 100
RELATIVE_ERROR: Final = 0.01

# A bucket's key is made of a float's exponent and the first _MANTISSA_BITS bits of its mantissa. Powers of two are
# split by a table into the fewest buckets that keep the error: 36, where a logarithm would need 35.
_MANTISSA_BITS: Final = 10
_SHIFT: Final = 52 - _MANTISSA_BITS
_SLICES: Final = 1 << _MANTISSA_BITS
_SUBNORMAL_EXPONENTS: Final = 53  # subnormal numbers times 2 ** 53 are normal ones
_NORMAL_MIN: Final = 1 << 52  # the bits of the least normal number
# The least of all numbers are small multiples of 5e-324: each has a bucket of its own. What stands for the next buckets
# must be a multiple, too, which is not quite their middle: hence the smaller error, for which 36 buckets are enough.
_SINGLES: Final = 4096
_BUCKET_ERROR: Final = 0.0098


def _split_octave() -> tuple[Int64s, Floats]:
    """(the bucket of each slice of the mantissa, the middle of each bucket as a mantissa from 1 to 2)"""
    ratio_max = (1 + _BUCKET_ERROR) / (1 - _BUCKET_ERROR)
    bucket_of, low = np.empty(_SLICES, np.int64), 0
    middles: list[float] = []
    while low < _SLICES:
        high = max(low + 1, min(_SLICES, int((_SLICES + low) * ratio_max) - _SLICES))
        bucket_of[low:high] = len(middles)
        # The harmonic mean of the bounds is as far from the one as from the other.
        a, b = 1 + low / _SLICES, 1 + high / _SLICES
        middles.append(2 * a * b / (a + b))
        low = high
    return bucket_of, np.array(middles)


_BUCKET_OF, _MIDDLES = _split_octave()
_PER_OCTAVE: Final = len(_MIDDLES)
_INFINITY_KEY: Final = _SINGLES + (2047 + _SUBNORMAL_EXPONENTS) * _PER_OCTAVE
_KEY_BITS: Final = 18
_KEY_ZERO: Final = 1 << (_KEY_BITS - 1)  # the key of zero: those of negative numbers lie below
assert _INFINITY_KEY < _KEY_ZERO


def bucket_keys(values: Floats) -> Int64s:
    """The bucket of each number, from 0 to 2 ** _KEY_BITS - 1, in the order of the numbers. In: no NaN"""
    bits = values.view(np.int64)
    magnitude = bits & np.int64(2**63 - 1)
    keys = _positive_keys(magnitude)
    if len(bits) and magnitude.min() < _NORMAL_MIN:
        tiny = np.flatnonzero(magnitude < _NORMAL_MIN)
        scaled = (np.abs(values[tiny]) * 2.0**_SUBNORMAL_EXPONENTS).view(np.int64)
        keys[tiny] = _positive_keys(scaled) - _SUBNORMAL_EXPONENTS * _PER_OCTAVE
        least = tiny[magnitude[tiny] < _SINGLES]
        keys[least] = magnitude[least] + _KEY_ZERO
    if len(bits) and bits.min() < 0:
        np.subtract(2 * _KEY_ZERO, keys, out=keys, where=bits < 0)
    return keys


# Added to each: what normal numbers have before them.
_KEY_OF_SLICE: Final = _BUCKET_OF + (_KEY_ZERO + _SINGLES + _SUBNORMAL_EXPONENTS * _PER_OCTAVE)


def _positive_keys(bits: Int64s) -> Int64s:
    """In: positive normal floats, as whole numbers"""
    slices = bits >> np.int64(_SHIFT)
    keys: Int64s = _KEY_OF_SLICE.take(slices & np.int64(_SLICES - 1))
    # Numbers of half the size are worked on in less time.
    keys += (slices.astype(np.int32) >> _MANTISSA_BITS) * np.int32(_PER_OCTAVE)
    return keys


def bucket_values(keys: Int64s) -> Floats:
    """The number that stands for each bucket: within RELATIVE_ERROR of all numbers in it."""
    signed = keys - _KEY_ZERO
    magnitude = np.abs(signed)
    exponent, part = np.divmod(magnitude - _SINGLES, _PER_OCTAVE)
    with np.errstate(over="ignore", under="ignore"):
        values = np.ldexp(_MIDDLES[part], exponent - (1023 + _SUBNORMAL_EXPONENTS))
    values = np.where(magnitude < _SINGLES, magnitude.view(np.float64), values)
    values[magnitude == _INFINITY_KEY] = np.inf
    found: Floats = np.where(signed < 0, -values, values)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class QuantileSketch:
    """The sketches of cells 0, 1, …

    codes: cell << _KEY_BITS | bucket's key, ascending, of the cells with more than EXACT_MAX values
    counts: how many values each of them stands for
    exact_cells, exact_values: every single value of the other cells, in no order
    """

    codes: Int64s
    counts: Int64s
    exact_cells: Int64s
    exact_values: Floats

    @classmethod
    def from_values(cls, cells: Int64s, values: Floats, totals: Int64s) -> "QuantileSketch":
        """In: the cell of each value; the values, without NaN; how many values each cell has"""
        many = totals[cells] > EXACT_MAX
        if many.all():
            few_cells, few_values = cells[:0], values[:0]
        else:
            few = ~many
            few_cells, few_values = cells[few], values[few]
            cells, values = cells[many], values[many]
        codes, counts = _counted(cells, bucket_keys(values), totals)
        return cls(codes, counts, few_cells, few_values)

    @property
    def entries(self) -> int:
        """What memory it takes, in pairs of 16 bytes."""
        return len(self.codes) + len(self.exact_cells)

    def moved(self, cell_of: Int64s) -> "QuantileSketch":
        """The same with new numbers of cells. In: the new number of each cell; -1: it is left out"""
        cells, exact_cells = cell_of[self.codes >> _KEY_BITS], cell_of[self.exact_cells]
        keep, keep_exact = cells >= 0, exact_cells >= 0
        codes = (cells << _KEY_BITS) | (self.codes & ((1 << _KEY_BITS) - 1))
        return QuantileSketch(codes[keep], self.counts[keep], exact_cells[keep_exact], self.exact_values[keep_exact])

    def quantiles(self, totals: Int64s, fractions: Sequence[float]) -> Floats:
        """A row per fraction, a column per cell; 0 where a cell has no values.

        In: how many values each cell has. The quantile p of n values is the ceil(p * n)-th of them, at least the first.
        """
        out = np.zeros((len(fractions), len(totals)))
        every = np.arange(len(totals))
        many, few = totals > EXACT_MAX, (totals > 0) & (totals <= EXACT_MAX)
        upto = np.cumsum(self.counts)
        before = np.r_[0, upto][np.searchsorted(self.codes, every[many] << _KEY_BITS)]
        order = _order(self.exact_cells, self.exact_values)
        ordered = self.exact_values[order]
        first = np.searchsorted(self.exact_cells[order], every[few])
        for row, fraction in enumerate(fractions):
            rank = np.clip(np.ceil(fraction * totals), 1, np.maximum(totals, 1)).astype(np.int64)
            entry = np.searchsorted(upto, before + rank[many])
            out[row, many] = bucket_values(self.codes[entry] & ((1 << _KEY_BITS) - 1))
            out[row, few] = ordered[first + rank[few] - 1]
        return out


def merge_sketches(sketches: Iterable[QuantileSketch], totals: Int64s) -> QuantileSketch:
    """The sketch of all their values. In: sketches with the same numbers of cells; how many values each cell has"""
    parts = list(sketches)
    exact_cells = np.concatenate([np.empty(0, np.int64), *(part.exact_cells for part in parts)])
    exact_values = np.concatenate([np.empty(0), *(part.exact_values for part in parts)])
    # What was few in each part may be many together.
    rest = QuantileSketch.from_values(exact_cells, exact_values, totals)
    codes = np.concatenate([rest.codes, *(part.codes for part in parts)])
    counts = np.concatenate([rest.counts, *(part.counts for part in parts)])
    if (codes[1:] <= codes[:-1]).any():
        codes, counts = _added(codes, counts)
    return QuantileSketch(codes, counts, rest.exact_cells, rest.exact_values)


# A table of counts is cheaper than sorting where it has fewer places than half of the values.
_VALUES_PER_PLACE_MIN: Final = 2


def _counted(cells: Int64s, keys: Int64s, totals: Int64s) -> tuple[Int64s, Int64s]:
    """(the distinct codes, ascending; how often each comes)"""
    if not len(cells):
        return cells, cells
    used = np.flatnonzero(totals > EXACT_MAX)
    least = int(keys.min())
    width = int(keys.max()) - least + 1
    if len(used) * width * _VALUES_PER_PLACE_MIN <= len(cells):
        place = np.zeros(len(totals), np.int64)
        place[used] = np.arange(len(used)) * width - least
        counts = np.bincount(place[cells] + keys)
        found = np.flatnonzero(counts)
        cell, key = np.divmod(found, width)
        return (used[cell] << _KEY_BITS) | (key + least), counts[found]
    ordered = np.sort((cells << _KEY_BITS) | keys)
    starts = run_starts(ordered)
    return ordered[starts], np.diff(np.r_[starts, len(ordered)])


def _added(codes: Int64s, counts: Int64s) -> tuple[Int64s, Int64s]:
    """The same with each code once, ascending."""
    bits = int(counts.max()).bit_length()
    if int(codes.max()).bit_length() + bits < 63:  # numbers sort faster than what must be carried with them
        both = np.sort((codes << bits) | counts)
        codes, counts = both >> bits, both & ((1 << bits) - 1)
    else:
        order = np.argsort(codes)
        codes, counts = codes[order], counts[order]
    starts = run_starts(codes)
    return codes[starts], np.add.reduceat(counts, starts)


def _order(cells: Int64s, values: Floats) -> Int64s:
    """The order by cell, and by value within a cell. Two sorts of numbers: several times faster than np.lexsort."""
    by_value = np.argsort(values)
    size = max(1, len(values))
    both = np.sort(cells[by_value] * size + np.arange(size if len(values) else 0))
    found: Int64s = by_value[both % size]
    return found
