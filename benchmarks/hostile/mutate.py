"""Changes inputs at random: bytes as such, and protobuf messages inside their frame."""

from collections.abc import Sequence
from random import Random
from typing import Final

from tables.columns.varint import varint
from tables.errors import WireError
from tables.wire.otlp.clean import fields

BYTES_MAX: Final = 64 << 10
_DEPTH_MAX: Final = 12
# Ends of ranges, and numbers that overflow where somebody adds to them.
_INTEGERS: Final = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_OTHERS: Final = (b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\xff" * 8, bytes(8), b"\x80", b"\x7f", b"\xed\xa0\x80")
_NUMBERS: Final = (*map(varint, _INTEGERS), *_OTHERS)


def mutate(data: bytes, rng: Random, words: Sequence[bytes] = (), others: Sequence[bytes] = ()) -> bytes:
    """One to six changes anywhere; others: inputs to take pieces from."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(out))
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
        match rng.randrange(7):
            case 0 if out:
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[rng.randrange(len(out))] = rng.randrange(256)
            case 2:
                del out[at:end]
            case 3:
                out[at:at] = out[at:end] * rng.choice((1, 1, 2, 16))
            case 4:
                out[at:end] = rng.choice(_NUMBERS)
            case 5 if words:
                out[at : rng.choice((at, end))] = rng.choice(list(words))
            case 6 if others:
                other = rng.choice(list(others))
                begin = rng.randint(0, len(other))
                out[at:end] = other[begin : begin + rng.randint(0, 256)]
    return bytes(out[:BYTES_MAX])


def mutate_message(data: bytes, rng: Random, words: Sequence[bytes] = (), others: Sequence[bytes] = ()) -> bytes:
    """Changes one field of a protobuf message, or of a message in it: the lengths around it stay right."""
    return _mutate_at(data, rng, words, others, 0)[:BYTES_MAX]


def _mutate_at(data: bytes, rng: Random, words: Sequence[bytes], others: Sequence[bytes], depth: int) -> bytes:
    try:
        parts = list(fields(memoryview(data)))
    except WireError:
        parts = []
    if not parts or depth >= _DEPTH_MAX or rng.random() < 0.1:
        return mutate(data, rng, words, others)
    at = rng.randrange(len(parts))
    raw = [bytes(part.raw) for part in parts]
    chosen = parts[at]
    match rng.randrange(12):
        case 0:
            del raw[at]
        case 1:
            raw.insert(rng.randint(0, len(raw)), raw[at])
        case 2:
            rng.shuffle(raw)
        case 3:
            # Another field, or another wire type for the same content.
            raw[at] = varint(max(0, chosen.tag + rng.choice((-8, 8, 1, -1, 2, -2, 5 - (chosen.tag & 7))))) + raw[at][1:]
        case 4:
            raw.insert(at, rng.choice((b"\x02\x00", b"\x0b\x0c", b"\x0a" + _NUMBERS[-7], b"\x05\x00\x00\x00\x00")))
        case _ if chosen.tag & 7 == 2:
            body = _mutate_at(bytes(chosen.body), rng, words, others, depth + 1)
            raw[at] = varint(chosen.tag) + varint(len(body)) + body
        case _:
            raw[at] = varint(chosen.tag) + rng.choice(_NUMBERS)
    return b"".join(raw)
