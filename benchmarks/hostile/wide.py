"""Wide data: thousands of attribute keys with long names, values that hardly repeat, many events, one huge trace."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SERVICES: Final = ("checkout", "cart", "payment", "shipping")
NAMES: Final = ("GET /", "POST /orders", "SELECT", "publish")
_KINDS: Final = (
    Span.SPAN_KIND_INTERNAL,
    Span.SPAN_KIND_SERVER,
    Span.SPAN_KIND_CLIENT,
    Span.SPAN_KIND_PRODUCER,
    Span.SPAN_KIND_CONSUMER,
)
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Wide:
    """What is made. All of it follows from the seed.

    keys: distinct attribute keys, whose names have key_chars characters; attributes: of them on each span
    values: distinct values of `span.like.id`; spans: in ordinary traces of five; events: on every fourth span
    huge_trace_spans: of one more trace; seconds: over which the spans are spread
    """

    keys: int = 5_000
    key_chars: int = 250
    attributes: int = 10
    values: int = 100_000
    spans: int = 100_000
    events: int = 2
    huge_trace_spans: int = 200_000
    start_ns: int = 1_795_259_580_000_000_000
    seconds: int = 3_000
    seed: int = 1

    @property
    def huge_trace(self) -> bytes:
        """The trace id of the huge trace."""
        return b"huge" + self.seed.to_bytes(12, "big")

    def key(self, number: int) -> str:
        """The name of one attribute."""
        return f"wide.{number:05d}.".ljust(self.key_chars, "k")

    def requests(self, spans_per_request: int = 2_000) -> Iterator[bytes]:
        """OTLP requests, by time. Every tenth trace has its last span in the next request but one, so that traces lie
        in several segments, too.
        """
        rng = Random(self.seed)
        late: list[list[Span]] = [[], [], []]
        made = 0
        while made < self.spans:
            here = late.pop(0)
            late.append([])
            while len(here) < spans_per_request and made < self.spans:
                trace = list(self._trace(rng, made))
                made += len(trace)
                if rng.random() < 0.1:
                    late[1].append(trace.pop())
                here += trace
            yield _request(here, rng)
        yield from (_request(spans, rng) for spans in late if spans)
        for first in range(0, self.huge_trace_spans, spans_per_request):
            end = min(first + spans_per_request, self.huge_trace_spans)
            yield _request([self._huge(rng, number) for number in range(first, end)], rng)

    def _trace(self, rng: Random, number: int) -> Iterator[Span]:
        trace_id = rng.randbytes(16)
        begin_ns = self.start_ns + number * self.seconds * _NS // max(1, self.spans)
        for place in range(min(5, self.spans - number)):
            parent = (number + place).to_bytes(8, "big") if place else b""
            yield self._span(rng, trace_id, number + place + 1, parent, begin_ns + place * 1_000_000)

    def _span(self, rng: Random, trace_id: bytes, number: int, parent: bytes, start_ns: int) -> Span:
        span = Span(
            trace_id=trace_id,
            span_id=number.to_bytes(8, "big"),
            parent_span_id=parent,
            name=rng.choice(NAMES),
            kind=_KINDS[number % 5],
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + rng.randrange(1, 2_000_000_000),
            status=Status(code=Status.STATUS_CODE_ERROR if rng.random() < 0.1 else Status.STATUS_CODE_UNSET),
        )
        for key in rng.sample(range(self.keys), min(self.attributes, self.keys)):
            value = span.attributes.add(key=self.key(key)).value
            if key % 3:
                value.string_value = f"v{rng.randrange(12)}"
            else:
                value.int_value = rng.randrange(40)
        span.attributes.add(key="like.id").value.string_value = f"id-{rng.randrange(self.values):08d}"
        span.attributes.add(key="http.status_code").value.int_value = rng.choice((200, 404, 500))
        if number % 4 == 0:
            for event in range(self.events):
                one = span.events.add(name=f"event {event}", time_unix_nano=start_ns)
                one.attributes.add(key=self.key(rng.randrange(self.keys))).value.string_value = "x" * 100
        return span

    def _huge(self, rng: Random, number: int) -> Span:
        start_ns = self.start_ns + number * self.seconds * _NS // max(1, self.huge_trace_spans)
        parent = (2**40 + rng.randrange(number)).to_bytes(8, "big") if number else b""
        return self._span(rng, self.huge_trace, 2**40 + number, parent, start_ns)


def _request(spans: list[Span], rng: Random) -> bytes:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = rng.choice(SERVICES)
    group.scope_spans.add().spans.extend(spans)
    return bytes(message.SerializeToString())
