"""Spans of Zipkin's version 1, whatever their encoding, → spans of version 2.

Version 1 says with annotations what version 2 has fields for: cs, cr, sr, ss (client and server, sent and received),
ms, mr (messages) give the kind and the times; sa, ca, ma are addresses of the other side. A span of which both sides
reported is one span of each side.

Source: zipkin-api, zipkinCore.thrift; openzipkin's description of the conversion
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from tables.wire.otlp.encode import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    KeyValue,
    Value,
)
from tables.wire.zipkin.translate import Annotation, Endpoint, ZipkinSpan, tags_of

# Kind, the annotation that begins it, those that end it.
_SIDES: Final = (
    (KIND_CLIENT, b"cs", b"cr"),
    (KIND_SERVER, b"sr", b"ss"),
    (KIND_PRODUCER, b"ms", b"ws"),
    (KIND_CONSUMER, b"mr", b"wr"),
)
_MARKS: Final = frozenset(mark for _, *marks in _SIDES for mark in marks)
# Of the other side, as the kinds see it.
_ADDRESSES: Final = {
    b"sa": (KIND_CLIENT, KIND_UNSPECIFIED),
    b"ca": (KIND_SERVER,),
    b"ma": (KIND_PRODUCER, KIND_CONSUMER),
}
_LOCAL_COMPONENT: Final = b"lc"


class HostAnnotation(NamedTuple):
    """Something that happened at a time, at a host."""

    time_us: int
    value: bytes
    host: Endpoint


class BinaryAnnotation(NamedTuple):
    """A tag, and who set it."""

    key: bytes
    value: Value
    host: Endpoint


class Version1Span(NamedTuple):
    """A span of version 1. Times in Unix microseconds, 0: absent; ids as in `ZipkinSpan`"""

    trace_id: bytes
    id: bytes
    parent_id: bytes
    name: bytes
    start_us: int
    duration_us: int
    annotations: Sequence[HostAnnotation]
    binary_annotations: Sequence[BinaryAnnotation]
    debug: bool = False


def to_version2(span: Version1Span) -> list[ZipkinSpan]:
    """The span of each side that reported; one without a kind if none did."""
    marks = {one.value: one for one in reversed(span.annotations) if one.value in _MARKS}
    sides = [side for side in _SIDES if side[1] in marks or side[2] in marks]
    both = len(sides) > 1
    found = [_side(span, marks, *side, shared=both and side[0] == KIND_SERVER) for side in sides]
    found = found or [_side(span, {}, KIND_UNSPECIFIED, b"", b"", shared=False)]
    # What belongs to no side that is known is told once.
    owners = {side.local.service: number for number, side in reversed([*enumerate(found)])}
    events: list[list[Annotation]] = [[] for _ in found]
    for event in span.annotations:
        if event.value not in _MARKS:
            events[owners.get(event.host.service, 0)].append(Annotation(event.time_us, event.value))
    tags: list[list[KeyValue]] = [[] for _ in found]
    for tag in span.binary_annotations:
        if tag.key not in _ADDRESSES or tag.value is not True:
            tags[owners.get(tag.host.service, 0)].append((tag.key, tag.value))
    return [
        one._replace(annotations=annotations, tags=tags_of(pairs))
        for one, annotations, pairs in zip(found, events, tags, strict=True)
    ]


def _side(
    span: Version1Span, marks: dict[bytes, HostAnnotation], kind: int, begin: bytes, end: bytes, *, shared: bool
) -> ZipkinSpan:
    first, last = marks.get(begin), marks.get(end)
    start_us, duration_us = (0, 0) if shared else (span.start_us, span.duration_us)
    start_us = start_us or (first.time_us if first is not None else 0)
    if not duration_us and first is not None and last is not None:
        duration_us = max(0, last.time_us - first.time_us)
    return ZipkinSpan(
        trace_id=span.trace_id,
        id=span.id,
        parent_id=span.parent_id,
        name=span.name,
        kind=kind,
        start_us=start_us,
        duration_us=duration_us,
        local=_local(span, first or last),
        remote=_remote(span, kind),
        annotations=[],
        tags=[],
        debug=span.debug,
        shared=shared,
    )


def _local(span: Version1Span, mark: HostAnnotation | None) -> Endpoint:
    if mark is not None and mark.host != Endpoint():
        return mark.host
    hosts = [one.host for one in span.annotations if one.host.service]
    hosts += [one.host for one in span.binary_annotations if one.host.service and one.key not in _ADDRESSES]
    if hosts:
        return hosts[0]
    named = [one.value for one in span.binary_annotations if one.key == _LOCAL_COMPONENT]
    return Endpoint(named[0]) if named and isinstance(named[0], bytes) else Endpoint()


def _remote(span: Version1Span, kind: int) -> Endpoint:
    for one in span.binary_annotations:
        if one.value is True and kind in _ADDRESSES.get(one.key, ()):
            return one.host
    return Endpoint()
