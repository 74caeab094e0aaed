"""Requests made to hurt a decoder, and a writer whose records are kept instead of written."""

from collections import Counter
from collections.abc import Sequence

from agents.distributor.record_producer import Record
from agents.distributor.span_writer import SpanWriter
from agents.stream.span_record import parts_of
from tables.columns.varint import varint
from tables.wire import record
from tables.wire.otlp.clean import tagged
from tables.wire.request_records import decode_record


def inside(*tags: int, body: bytes) -> bytes:
    """A field inside others; the last tag is the innermost."""
    for tag in reversed(tags):
        body = tagged(tag, body)
    return body


# A length beyond 64 bits when its place is added; at each level that ptars reads.
HUGE = b"\xff" * 9 + b"\x01"
HUGE_LENGTHS = {
    "resource_spans": b"\x0a" + HUGE,
    "scope_spans": inside(0x0A, body=b"\x12" + HUGE),
    "resource": inside(0x0A, body=b"\x0a" + HUGE),
    "span": inside(0x0A, 0x12, body=b"\x12" + HUGE),
    "span's name": inside(0x0A, 0x12, 0x12, body=b"\x2a" + HUGE),
    "attribute": inside(0x0A, 0x12, 0x12, body=b"\x4a" + HUGE),
    "value": inside(0x0A, 0x12, 0x12, 0x4A, body=b"\x12" + HUGE),
    "event": inside(0x0A, 0x12, 0x12, body=b"\x5a" + HUGE),
    "almost": b"\x0a" + b"\xf6" + b"\xff" * 8 + b"\x01",
    "with a longer tag": b"\x8a\x00" + HUGE,
    "with bits beyond 64": b"\x0a" + b"\xff" * 9 + b"\x63",
}


def groups(levels: int, *, closed: bool = True) -> bytes:
    """Groups inside each other, in a span: each costs the decoder a part of its stack."""
    return inside(0x0A, 0x12, 0x12, body=b"\x1b" * levels + (b"\x1c" * levels if closed else b""))


def spread_groups(levels: int) -> bytes:
    """The same with a field before each, so that they do not follow each other."""
    return inside(0x0A, 0x12, 0x12, body=b"\x30\x01\x1b" * levels)


FRAMES = {
    "field number 0": b"\x02\x00",
    "wire type 6": b"\x0e\x00",
    "wire type 7": inside(0x0A, body=b"\x0f"),
    "group that does not end": inside(0x0A, body=b"\x0b"),
    "end of no group": b"\x0c",
    "length of 2^31": b"\x0a" + varint(2**31),
    "length of 2^32": b"\x0a" + varint(2**32),
    "length of 2^63": b"\x0a" + varint(2**63),
    "number of 11 bytes": b"\x08" + b"\xff" * 10 + b"\x01",
    "half a number": b"\x08\xff",
    "half a fixed64": inside(0x0A, 0x12, 0x12, body=b"\x39\x00"),
}


class Producer:
    """In place of Kafka."""

    partitions = 2

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def start(self) -> None:
        """Nothing to do."""

    async def stop(self, _: float) -> None:
        """Nothing to do."""

    async def write(self, records: Sequence[Record]) -> None:
        """Keeps them."""
        self.records += records

    def spans(self) -> Counter[str]:
        """How many spans each tenant has, as a reader of the topic finds them."""
        found: Counter[str] = Counter()
        for one in self.records:
            message = type("Message", (), {"key": one.key, "value": one.value, "headers": one.headers})
            assert one.value is not None
            batch = decode_record(one.value, record.read_headers(one.headers))
            parts = parts_of(message)[1]
            assert sum(part.spans for part in parts) == len(batch)
            for part in parts:
                found[part.tenant] += part.spans
        return found


def writer() -> tuple[SpanWriter, Producer]:
    """A writer as the process has it, but for Kafka."""
    producer = Producer()
    return SpanWriter(producer, 1_000_000), producer  # type: ignore[arg-type]
