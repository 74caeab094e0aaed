"""Cleans OTLP values as bytes: repairs strings that are not UTF-8, and truncates what is too long.

It reads the wire format itself, and so also bytes that protobuf refuses. A field costs about a microsecond, so it gets
only values that a fast check has picked out. Resources and scopes are cleaned when a request is decoded, once per
distinct value. So the record, the live store and every other reader of the topic see the same bytes, and the client
learns what was wrong.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import ArrayValue, InstrumentationScope, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from prometheus_client import Counter

from tables.columns.varint import varint
from tables.errors import NeedsSlowPath, WireError

CUT = Counter(
    "stretto_attribute_values_cut_total",
    "Attribute keys and values that were truncated to distributor.max_attribute_bytes.",
)
REPAIRED = Counter(
    "stretto_strings_repaired_total", "Strings that were not valid UTF-8; their faulty bytes became U+FFFD."
)
DROPPED = Counter(
    "stretto_attributes_dropped_total",
    "Attributes dropped because a span, event, link, resource or scope had too many.",
)

# Nested lists (arrays, key-value lists). Each is up to three messages, and protobuf reads a hundred nested messages,
# including those around a span.
NESTING_MAX: Final = 24
# A repaired or truncated list keeps at most this many items, so that a hostile one takes only milliseconds.
ITEMS_MAX: Final = 4096
# Each is a column, and is repeated on each span: SDKs stop at 128.
RESOURCE_ATTRIBUTES_MAX: Final = 256
# Size of a resource or scope: every record with one of its spans holds it once.
RESOURCE_BYTES_MAX: Final = 256 << 10

_MESSAGES: Final = {"resource": Resource, "scope": InstrumentationScope}

_HEAD_BYTES: Final = 12  # tags and lengths of an item
_CACHED_BYTES_MAX: Final = 8192  # larger resources are not kept: 4096 of them would be too much

# Tags: a field's number and its wire type.
_ITEM: Final = 0x0A  # of ArrayValue and KeyValueList
_KEY, _VALUE = 0x0A, 0x12
_STRING, _ARRAY, _KVLIST, _BYTES = 0x0A, 0x2A, 0x32, 0x3A
_NUMBERS: Final = frozenset({0x10, 0x18, 0x21})  # bool, int, double


class Field(NamedTuple):
    """A field of a message. body: its content; raw: with tag and length"""

    tag: int
    body: memoryview
    raw: memoryview


class Cleaned(NamedTuple):
    """A cleaned message, with the numbers of truncated values, repaired strings and dropped attributes."""

    data: bytes
    cut: int = 0
    repaired: int = 0
    dropped: int = 0


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message. Raises: WireError if the bytes are invalid, or contain groups, which OTLP does not
    use
    """
    at = 0
    while at < len(data):
        begin = at
        tag, at = varint_at(data, at)
        if not 8 <= tag < 2**32:
            raise WireError(f"field number {tag >> 3} at byte {begin}")
        match tag & 7:
            case 0:
                _, end = varint_at(data, at)
            case 1:
                end = at + 8
            case 2:
                length, at = varint_at(data, at)
                end = at + length
            case 5:
                end = at + 4
            case kind:
                raise WireError(f"wire type {kind} at byte {begin}")
        if end > len(data):
            raise WireError(f"a field at byte {begin} is longer than its message")
        yield Field(tag, data[at:end], data[begin:end])
        at = end


def varint_at(data: memoryview | bytes, at: int) -> tuple[int, int]:
    """Protobuf's variable-length number, and its end. Raises: WireError"""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128 and value < 2**64:
            return value, at
        shift += 7
    raise WireError(f"a number at byte {at} does not end")


def tagged(tag: int, body: bytes) -> bytes:
    """A length-delimited protobuf field: tag, length, body."""
    return varint(tag) + varint(len(body)) + body


def text_end(data: memoryview, end: int) -> int:
    """The last position at or before `end` that does not split a UTF-8 character."""
    least = max(0, end - 3)
    while least < end < len(data) and data[end] & 0xC0 == 0x80:
        end -= 1
    return end


class Cleaner:
    """Cleans one message, and counts what it did."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.cut = self.repaired = self.dropped = self._items = 0

    def cleaned(self, data: bytes) -> Cleaned:
        """`data` together with the counts of what was cut, repaired and dropped."""
        return Cleaned(data, self.cut, self.repaired, self.dropped)

    def text(self, body: memoryview, room: int) -> bytes:
        """A string of at most `room` bytes."""
        fits = len(body) <= room
        data = bytes(body) if fits else bytes(body[: text_end(body, max(room, 0))])
        try:
            data.decode()
        except UnicodeDecodeError:
            self.repaired += 1
            data = data.decode(errors="replace").encode()
            if len(data) > room:  # U+FFFD takes three bytes
                fits, data = False, data[: text_end(memoryview(data), max(room, 0))]
        self.cut += not fits
        return data

    def nested(self, field: str, raw: bytes) -> tuple[str, bytes]:
        """The content of an array_value or kvlist_value; a bytes_value of the same bytes if it is unreadable."""
        try:
            kept, data = field, self._list(memoryview(raw), self.bytes_max, self._item_of(field), 1)
        except WireError:
            kept, data = "bytes_value", raw[: self.bytes_max]
            self.cut = len(raw) > self.bytes_max
        self.cut = min(self.cut, 1)
        return kept, data

    def attribute(self, raw: memoryview) -> bytes:
        """A KeyValue. An unreadable value stays as bytes. Raises: WireError"""
        key, value, before = b"", b"", self.cut
        for field in fields(raw):
            if field.tag == _KEY:
                key = self.text(field.body, self.bytes_max)
            elif field.tag == _VALUE:
                try:
                    value = self._any(field.body, self.bytes_max, 1)
                except WireError:
                    self.cut += len(field.body) > self.bytes_max
                    value = tagged(_BYTES, bytes(field.body[: self.bytes_max]))
        self.cut = min(self.cut, before + 1)
        return tagged(_KEY, key) + tagged(_VALUE, value)

    def _item_of(self, field: str) -> Callable[[memoryview, int, int], bytes]:
        return self._any if field == "array_value" else self._pair

    def _list(self, raw: memoryview, room: int, clean: Callable[[memoryview, int, int], bytes], depth: int) -> bytes:
        """The leading items that fit into `room`; the first one that does not fit is itself truncated."""
        if depth > NESTING_MAX:
            raise WireError(f"more than {NESTING_MAX} lists inside each other")
        out, before = bytearray(), self.cut
        for field in fields(raw):
            left = room - len(out) - _HEAD_BYTES
            self._items += 1
            if left <= 0 or self._items > ITEMS_MAX or self.cut > before:
                self.cut += 1
                break
            if field.tag == _ITEM:
                out += tagged(_ITEM, clean(field.body, left, depth))
        return bytes(out)

    def _any(self, raw: memoryview, room: int, depth: int) -> bytes:
        out = b""
        for field in fields(raw):  # of several the last counts
            if field.tag == _STRING:
                out = tagged(_STRING, self.text(field.body, room))
            elif field.tag == _BYTES:
                self.cut += len(field.body) > room
                out = tagged(_BYTES, bytes(field.body[:room]))
            elif field.tag == _ARRAY:
                out = tagged(_ARRAY, self._list(field.body, room, self._any, depth + 1))
            elif field.tag == _KVLIST:
                out = tagged(_KVLIST, self._list(field.body, room, self._pair, depth + 1))
            elif field.tag in _NUMBERS:
                out = varint(field.tag) + bytes(field.body)
        return out

    def _pair(self, raw: memoryview, room: int, depth: int) -> bytes:
        key, value = b"", b""
        for field in fields(raw):
            if field.tag == _KEY:
                key = self.text(field.body, room)
            elif field.tag == _VALUE:
                value = self._any(field.body, max(room - len(key) - _HEAD_BYTES, 0), depth)
        return tagged(_KEY, key) + tagged(_VALUE, value)

    def message(self, raw: bytes, texts: tuple[int, ...], attributes: int, dropped: int) -> bytes:
        """A Resource or InstrumentationScope with the fields of these tags; others are dropped. Raises: WireError"""
        out, count, had = bytearray(), 0, 0
        for field in fields(memoryview(raw)):
            if field.tag == attributes:
                count += 1
                if count - self.dropped > RESOURCE_ATTRIBUTES_MAX:
                    self.dropped += 1
                    continue
                pair = self.attribute(field.body)
                if len(out) + len(pair) > RESOURCE_BYTES_MAX:
                    self.dropped += 1
                else:
                    out += tagged(attributes, pair)
            elif field.tag in texts:
                out += tagged(field.tag, self.text(field.body, self.bytes_max))
            elif field.tag == dropped:
                had, _ = varint_at(field.body, 0)
        if had + self.dropped:
            out += varint(dropped) + varint(min(had + self.dropped, 2**32 - 1))
        return bytes(out)


class Cleaners:
    """Caches cleaned resources and scopes: most requests repeat the same few."""

    def __init__(self, bytes_max: int, kept: int = 4096) -> None:
        self._bytes_max = bytes_max
        self._cached = {kind: lru_cache(kept)(clean) for kind, clean in self._kinds().items()}

    def _kinds(self) -> dict[str, Callable[[bytes], Cleaned]]:
        return {"resource": self._resource, "scope": self._scope}

    def clean(self, kind: str, raw: bytes, *, fast_path_only: bool = False) -> Cleaned:
        """kind: resource or scope. Raises: WireError that names it, if the bytes are invalid; NeedsSlowPath if
        `fast_path_only` is set and there is much to repair
        """
        try:
            if len(raw) <= _CACHED_BYTES_MAX:
                return self._cached[kind](raw)
            if fast_path_only and not self._fits(raw, _MESSAGES[kind]):
                raise NeedsSlowPath
            return self._kinds()[kind](raw)
        except WireError as err:
            raise WireError(f"not an OTLP ExportTraceServiceRequest: {kind}: {err}") from err

    def _resource(self, raw: bytes) -> Cleaned:
        return self._clean(raw, Resource, (), 0x0A, 0x10)

    def _scope(self, raw: bytes) -> Cleaned:
        return self._clean(raw, InstrumentationScope, (0x0A, 0x12), 0x1A, 0x20)

    def _clean(
        self, raw: bytes, message: type[Resource | InstrumentationScope], texts: tuple[int, ...], *tags: int
    ) -> Cleaned:
        if self._fits(raw, message):
            return Cleaned(raw)
        cleaner = Cleaner(min(self._bytes_max, RESOURCE_BYTES_MAX))
        data = cleaner.message(raw, texts, *tags)
        try:
            message.FromString(data)
        except DecodeError as err:
            raise WireError(str(err)) from err
        return cleaner.cleaned(data)

    def _fits(self, raw: bytes, message: type[Resource | InstrumentationScope]) -> bool:
        if len(raw) > min(self._bytes_max, RESOURCE_BYTES_MAX):
            return False
        try:
            found = message.FromString(raw)
        except DecodeError:  # perhaps only its texts are faulty
            return False
        size = found.ByteSize()
        found.DiscardUnknownFields()
        return len(found.attributes) <= RESOURCE_ATTRIBUTES_MAX and found.ByteSize() == size


def clean_nested(field: str, raw: bytes, bytes_max: int) -> tuple[str, Cleaned]:
    """Field and content of an array_value or kvlist_value as stored; protobuf can read them."""
    cleaner = Cleaner(bytes_max)
    kept, data = cleaner.nested(field, raw)
    if kept != "bytes_value":
        try:
            (ArrayValue if kept == "array_value" else KeyValueList).FromString(data)
        except DecodeError:
            cut = len(raw) > bytes_max
            return "bytes_value", Cleaned(raw[:bytes_max], int(cut))
    return kept, cleaner.cleaned(data)
