"""Ids that say where they come from: pass and position in the template, mixed until they look random.

A span that is found again thus names its line in the ledger; no set of all ids is needed.
"""

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint64]

# Steps of splitmix64's finalizer, each of which can be undone.
_SHIFTS: Final = (30, 27, 31)
_FACTORS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_INVERSES: Final = tuple(pow(factor, -1, 2**64) for factor in _FACTORS)
# Keep the halves of a trace id, and span ids, from being alike.
TRACE_HIGH: Final = 0x243F6A8885A308D3
TRACE_LOW: Final = 0x13198A2E03707344
SPAN: Final = 0xA4093822299F31D0
_POSITION_BITS: Final = np.uint64(32)
_POSITION_MASK: Final = np.uint64(0xFFFFFFFF)


def words(pass_number: int, positions: Any) -> Words:
    """Pass and positions → one number each, never 0."""
    high = np.uint64(pass_number + 1) << _POSITION_BITS
    found: Words = high | np.asarray(positions).astype(np.uint64)
    return found


def places(of: Words) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """`words` undone: passes (-1 or absurd for ids of others) and positions."""
    return (of >> _POSITION_BITS).astype(np.int64) - 1, (of & _POSITION_MASK).astype(np.int64)


def mix(of: Words, key: int) -> Words:
    """A bijection of the 64-bit numbers."""
    mixed = of ^ np.uint64(key)
    for shift, factor in zip(_SHIFTS, (*_FACTORS, None), strict=True):
        mixed = mixed ^ (mixed >> np.uint64(shift))
        if factor is not None:
            mixed = mixed * np.uint64(factor)
    return mixed


def unmix(of: Words, key: int) -> Words:
    """The inverse of `mix`. of: uint64, any shape"""
    plain = of
    for shift, inverse in zip(reversed(_SHIFTS), (*reversed(_INVERSES), None), strict=True):
        plain = plain ^ (plain >> np.uint64(shift)) ^ (plain >> np.uint64(2 * shift))  # 3 * shift is above 64
        if inverse is not None:
            plain = plain * np.uint64(inverse)
    return plain ^ np.uint64(key)


def trace_ids(of: Words) -> npt.NDArray[np.uint8]:
    """One row of 16 bytes each."""
    halves = np.stack([mix(of, TRACE_HIGH), mix(of, TRACE_LOW)], axis=1)
    return halves.astype(">u8").view(np.uint8).reshape(-1, 16)


def span_ids(of: Words) -> npt.NDArray[np.uint8]:
    """One row of 8 bytes each."""
    return mix(of, SPAN).astype(">u8").view(np.uint8).reshape(-1, 8)


def trace_words(ids: npt.NDArray[np.uint8]) -> Words:
    """`trace_ids` undone; 0 for an id that it did not make."""
    halves = np.ascontiguousarray(ids).view(">u8").astype(np.uint64).reshape(-1, 2)
    found = unmix(halves[:, 0], TRACE_HIGH)
    ours: Words = np.where(mix(found, TRACE_LOW) == halves[:, 1], found, np.uint64(0))
    return ours


def span_words(ids: npt.NDArray[np.uint8]) -> Words:
    """The inverse of `span_ids`. ids: uint8, shape (spans, 8)"""
    return unmix(np.ascontiguousarray(ids).view(">u8").astype(np.uint64).reshape(-1), SPAN)
