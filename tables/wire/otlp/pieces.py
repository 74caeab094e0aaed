"""A large OTLP request → several smaller ones with the same spans.

ptars decodes a request in one call and holds the GIL meanwhile: 5 ms for a megabyte of ordinary spans, 80 ms for one of
empty spans, and 64 MB of those take more memory than there is. A piece of bounded size takes bounded time and memory.
Python reads only the frame around the spans here, some 0.5 µs per span, and only for large requests.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from tables.errors import WireError
from tables.wire.otlp.clean import CUT, DROPPED, REPAIRED, Cleaners, tagged, text_end, varint_at

# Number of fields in a span that is a piece by itself, including its events and links; and in a resource or scope.
FIELDS_MAX: Final = 65_536
# Smaller fields between the spans stay where they are: they must not make many small pieces.
_STRAY_BYTES_MAX: Final = 16 << 10

# Tags: a field's number and its wire type.
_RESOURCE_SPANS: Final = 0x0A
_OWNER, _CHILD, _URL = 0x0A, 0x12, 0x1A  # of ResourceSpans: resource and scope_spans; of ScopeSpans: scope and spans
_EVENT, _LINK = 0x5A, 0x6A


class _Frame(NamedTuple):
    """A message's repeated children, as byte ranges with their tags, and its other fields, the last of each.

    A child that is larger than a piece is a range by itself.
    """

    children: list[tuple[int, int]]
    others: dict[int, tuple[int, int]]


class Cutter:
    """Cuts one request. too_large: number of spans that were left out because of their size"""

    def __init__(self, cleaners: Cleaners, attribute_bytes_max: int, span_bytes_max: int) -> None:
        self._cleaners = cleaners
        self._attribute_bytes_max, self._span_bytes_max = attribute_bytes_max, span_bytes_max
        self.too_large = 0

    def pieces(self, request: bytes, bytes_max: int) -> Iterator[bytes]:
        """Requests of about `bytes_max` bytes, or one span, each; in order. Raises: WireError"""
        for start, end in _frame(request, 0, len(request), _RESOURCE_SPANS, bytes_max).children:
            if end - start <= bytes_max:
                yield request[start:end]
            else:
                for body in self._resource_spans(request, start, end, bytes_max):
                    yield tagged(_RESOURCE_SPANS, body)

    def _resource_spans(self, data: bytes, start: int, end: int, bytes_max: int) -> Iterator[bytes]:
        _, at, _ = _field(data, start, end)
        frame = _frame(data, at, end, _CHILD, bytes_max)
        # Behind the children: of several the last counts.
        rest = self._others(data, frame, "resource")
        for first, last in frame.children:
            if last - first <= bytes_max:
                yield data[first:last] + rest
            else:
                for body in self._scope_spans(data, first, last, bytes_max):
                    yield tagged(_CHILD, body) + rest

    def _scope_spans(self, data: bytes, start: int, end: int, bytes_max: int) -> Iterator[bytes]:
        _, at, _ = _field(data, start, end)
        frame = _frame(data, at, end, _CHILD, bytes_max)
        rest = self._others(data, frame, "scope")
        for first, last in frame.children:
            if last - first <= bytes_max or self._is_decodable(data, first, last):
                yield data[first:last] + rest
            else:
                self.too_large += 1

    def _is_decodable(self, data: bytes, start: int, end: int) -> bool:
        """Whether a span that is larger than a piece can be decoded in bounded time."""
        _, at, _ = _field(data, start, end)
        return end - start <= self._span_bytes_max and _fields(data, at, end) <= FIELDS_MAX

    def _others(self, data: bytes, frame: _Frame, kind: str) -> bytes:
        """Resource or scope, and schema URL, within their limits."""
        out = b""
        if _OWNER in frame.others:
            start, end = frame.others[_OWNER]
            if _fields(data, start, end) > FIELDS_MAX:
                raise WireError(f"not an OTLP ExportTraceServiceRequest: a {kind} with more than {FIELDS_MAX} fields")
            cleaned = self._cleaners.clean(kind, data[start:end])
            CUT.inc(cleaned.cut)
            REPAIRED.inc(cleaned.repaired)
            DROPPED.inc(cleaned.dropped)
            out += tagged(_OWNER, cleaned.data)
        if _URL in frame.others:
            start, end = frame.others[_URL]
            if end - start > self._attribute_bytes_max:
                CUT.inc()
                end = start + text_end(memoryview(data)[start:end], self._attribute_bytes_max)
            out += tagged(_URL, data[start:end])
        return out


def _frame(data: bytes, at: int, end: int, child: int, bytes_max: int) -> _Frame:
    """The frame of a message. Raises: WireError"""
    children: list[tuple[int, int]] = []
    others: dict[int, tuple[int, int]] = {}
    first = last = at  # the range that grows
    while at < end:
        tag, content, after = _field(data, at, end)
        if tag == child:
            if first == last:
                first = at
            elif after - first > bytes_max:
                children.append((first, last))
                first = at
            last = after
        else:
            if tag in (_OWNER, _URL):
                others[tag] = (content, after)
            if after - at > _STRAY_BYTES_MAX and last > first:
                children.append((first, last))
                first = last = after
        at = after
    if last > first:
        children.append((first, last))
    return _Frame(children, others)


def _fields(data: bytes, at: int, end: int) -> int:
    """Number of fields of a message, including those of a span's events and links; counts no further than the limit."""
    count = 0
    while at < end and count <= FIELDS_MAX:
        tag, content, at = _field(data, at, end)
        count += 1
        while tag in (_EVENT, _LINK) and content < at and count <= FIELDS_MAX:
            _, _, content = _field(data, content, at)
            count += 1
    return count


def _field(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Tag of the field at `at`, start of its content, and its end. Raises: WireError"""
    begin = at
    tag = data[at]
    at += 1
    if tag > 127:
        tag, at = varint_at(data, begin)
    if tag < 8:  # as protobuf's own parsers: what is refused whole is refused in pieces, too
        raise WireError(f"not an OTLP ExportTraceServiceRequest: field number 0 at byte {begin}")
    match tag & 7:
        case 2:
            length, at = varint_at(data, at)
            after = at + length
        case 0:
            _, after = varint_at(data, at)
        case 1:
            after = at + 8
        case 5:
            after = at + 4
        case kind:
            raise WireError(f"not an OTLP ExportTraceServiceRequest: wire type {kind} at byte {begin}")
    if after > end:
        raise WireError(f"not an OTLP ExportTraceServiceRequest: a field at byte {begin} is longer than its message")
    return tag, at, after
