"""The rule for acceptable arrays and key-value lists, shared by receivers and the seal.

A request's nested values stay bytes until the seal. So the receiver checks them with the very function with which the
seal reads them: what was accepted can be sealed, and every reader can read it.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from tables.wire.otlp.clean import NESTING_MAX, clean_nested, tagged

NESTED: Final = ("array_value", "kvlist_value")

_ANY_BYTES_MAX: Final = 1 << 30  # nothing is cut here
_CACHED_BYTES_MAX: Final = 1024
_KNOWN_MAX, _KNOWN_BYTES_MAX = 8192, 256
_ITEM: Final = 0x0A  # of ArrayValue
_TAG: Final = {"array_value": 0x2A, "kvlist_value": 0x32}
# First bytes of the tags of lists; 0xAA and 0xB2 begin a tag that is written longer than it must be.
_LISTS: Final = (b"\x2a", b"\x32", b"\xaa", b"\xb2")


class Fit(NamedTuple):
    """A nested value that every reader can read. field: array_value, kvlist_value, or bytes_value for an invalid one"""

    field: str
    data: bytes
    repaired: int = 0


def fit_nested(field: str, raw: bytes) -> Fit:
    """The value without fields that OTLP does not define, and with repaired strings; or as bytes if it is invalid."""
    return _cached(field, raw) if len(raw) <= _CACHED_BYTES_MAX else _fit(field, raw)


class FitValues:
    """A cache of values that are known to fit, if they are short and few: most requests repeat them."""

    def __init__(self) -> None:
        self._known: dict[str, set[bytes]] = {field: set() for field in NESTED}

    def all_fit(self, field: str, values: set[bytes]) -> bool:
        """As the function `all_fit`, with the cache."""
        known = self._known[field]
        new = values - known
        if not new:
            return True
        if not all_fit(field, new):
            return False
        if len(known) + len(new) > _KNOWN_MAX:
            known.clear()
        known.update(raw for raw in new if len(raw) <= _KNOWN_BYTES_MAX)
        return True


def all_fit(field: str, values: Collection[bytes]) -> bool:
    """Whether `fit_nested` would leave each value unchanged; False also if a quick check cannot tell."""
    if any(len(raw) > 4 * NESTING_MAX and _may_be_deep(raw) for raw in values):
        return False
    # All of them at once, as items of one array.
    tag = _TAG[field]
    try:
        whole = ArrayValue.FromString(b"".join(tagged(_ITEM, tagged(tag, raw)) for raw in values))
    except DecodeError:
        return False
    size = whole.ByteSize()
    whole.DiscardUnknownFields()
    return whole.ByteSize() == size


def _fit(field: str, raw: bytes) -> Fit:
    message = (ArrayValue if field == "array_value" else KeyValueList)()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        kept, cleaned = clean_nested(field, raw, _ANY_BYTES_MAX)
        return Fit(kept, cleaned.data, cleaned.repaired)
    if _may_be_deep(raw) and _levels(message.values) > NESTING_MAX:
        return Fit("bytes_value", raw)
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return Fit(field, raw if message.ByteSize() == size else message.SerializeToString())


_cached = lru_cache(maxsize=4096)(_fit)


def _may_be_deep(raw: bytes) -> bool:
    """Whether more than NESTING_MAX lists may be nested: each level takes at least four bytes, among them its tag."""
    return len(raw) > 4 * NESTING_MAX and sum(map(raw.count, _LISTS)) >= NESTING_MAX


def _levels(items: Iterable[AnyValue | KeyValue]) -> int:
    """Number of nested levels of lists, including this one. Protobuf limits it."""
    deepest = 0
    for item in items:
        value = item.value if isinstance(item, KeyValue) else item
        kind = value.WhichOneof("value")
        if kind == "array_value":
            deepest = max(deepest, _levels(value.array_value.values))
        elif kind == "kvlist_value":
            deepest = max(deepest, _levels(value.kvlist_value.values))
    return 1 + deepest
