"""Spans that are too large, and requests made to hurt: bounded time, and neighbours come through."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from agents.distributor.record_producer import Record
from agents.distributor.span_writer import Outcome, Request, SpanWriter
from tables.wire import record
from tables.wire.otlp.clean import RESOURCE_BYTES_MAX, tagged
from tables.wire.request_records import decode_record
from tests.helpers.live.whole_way import Way, request, span, values

MIB = 1 << 20
RANDOM = random.Random(1)


def noise(size: int) -> str:
    """Text that hardly compresses."""
    return "".join(map(chr, RANDOM.choices(range(33, 0x2FF), k=size // 2)))


class Kafka:
    """Keeps what a writer hands over."""

    partitions = 1

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def write(self, records: list[Record]) -> None:
        self.records += records


def written(bytes_max: int, *bodies: bytes) -> tuple[list[Outcome], list[int]]:
    """What the clients are told, and the numbers of the spans that Kafka has."""
    kafka: Any = Kafka()
    writer = SpanWriter(kafka, bytes_max)
    outcomes = asyncio.run(writer.write([Request("t", body) for body in bodies]))
    assert all(len(one.value) < bytes_max for one in kafka.records)
    batches = [decode_record(one.value, record.read_headers(one.headers)) for one in kafka.records]
    ids = [int.from_bytes(i, "big") for batch in batches for i in batch.column("span_id").to_pylist()]
    return outcomes, sorted(ids)


def five_mb() -> Span:
    """Made of many attributes and events, none of which is too long."""
    one = span(7, attributes={f"k{n}": noise(60_000) for n in range(50)})
    for n in range(3000):
        one.events.add(time_unix_nano=n, name=noise(1000))
    return one


def test_a_span_of_5_mb() -> None:
    """Comes through whole where a Kafka message may be as large."""
    big = five_mb()
    assert big.ByteSize() > 4.5 * MIB
    outcomes, ids = written(8 * MIB, request([span(1), big, span(2)]))
    assert (outcomes, ids) == ([Outcome(received=3)], [1, 2, 7])
    way = Way(request([span(1), big, span(2)]))
    assert way.found("{ span.k39 != nil }") == [7]
    (got,) = [one for one in way.spans() if one.span_id == big.span_id]
    assert values(got.attributes) == values(big.attributes)
    assert list(got.events) == list(big.events)


def test_a_span_larger_than_a_kafka_message() -> None:
    """Is left out and told to its client; its neighbours, of its request and of others, are kept."""
    outcomes, ids = written(MIB, request([span(1), five_mb(), span(2)]), request([span(3)]))
    assert outcomes == [Outcome(received=3, too_large=1), Outcome(received=1)]
    assert ids == [1, 2, 3]


def test_a_large_resource_does_not_weigh_on_others() -> None:
    """Its attributes are cut and limited, so that its own spans fit; records of other spans do not hold it."""
    message = ExportTraceServiceRequest.FromString(request([span(n) for n in range(1, 50)]))
    for n in range(100):
        message.resource_spans[0].resource.attributes.add(key=f"k{n}").value.string_value = noise(70_000)
    before = time.process_time()
    outcomes, ids = written(2 * RESOURCE_BYTES_MAX, message.SerializeToString(), request([span(99)]))
    assert outcomes == [Outcome(received=49), Outcome(received=1)]
    assert ids == [*range(1, 50), 99]
    assert time.process_time() - before < 5


def tiny_spans() -> bytes:
    spans = b"".join(
        tagged(0x12, tagged(0x0A, n.to_bytes(16, "big")) + tagged(0x12, n.to_bytes(8, "big")))
        for n in range(1, 100_001)
    )
    return tagged(0x0A, tagged(0x12, spans))


def one_span(extra: bytes) -> bytes:
    return tagged(0x0A, tagged(0x12, tagged(0x12, span(1).SerializeToString() + extra)))


def many_attributes() -> bytes:
    return one_span(b"".join(tagged(0x4A, tagged(0x0A, b"k%d" % n) + b"\x12\x02\x18\x01") for n in range(100_000)))


def lists_of_nothing() -> bytes:
    """Long lists of empty items in many attributes."""
    value = tagged(0x2A, tagged(0x0A, b"") * 40_000)
    return one_span(b"".join(tagged(0x4A, tagged(0x0A, b"k%d" % n) + tagged(0x12, value)) for n in range(100)))


def empty_resources() -> bytes:
    return tagged(0x0A, b"") * 500_000


def many_resources() -> bytes:
    def one(n: int) -> bytes:
        pair = tagged(0x0A, b"k%d" % n) + tagged(0x12, tagged(0x0A, b"v"))
        ids = tagged(0x0A, n.to_bytes(16, "big")) + tagged(0x12, n.to_bytes(8, "big"))
        return tagged(0x0A, tagged(0x0A, tagged(0x0A, pair)) + tagged(0x12, tagged(0x12, ids)))

    return b"".join(map(one, range(1, 20_001)))


def many_attributes_of_a_resource() -> bytes:
    pairs = b"".join(tagged(0x0A, tagged(0x0A, b"k%d" % n) + b"\x12\x02\x18\x01") for n in range(100_000))
    return tagged(0x0A, tagged(0x0A, pairs) + tagged(0x12, tagged(0x12, span(1).SerializeToString()) * 1000))


@pytest.mark.parametrize(
    "make",
    [tiny_spans, many_attributes, lists_of_nothing, empty_resources, many_resources, many_attributes_of_a_resource],
)
def test_requests_made_to_hurt(make: Callable[[], bytes]) -> None:
    """Cost at most some seconds per 10 MB until they are in a segment."""
    body = make()
    begin = time.process_time()
    if make is empty_resources:
        written(8 * MIB, body)
    else:
        Way(body)
    assert time.process_time() - begin < 8 + len(body) / MIB
