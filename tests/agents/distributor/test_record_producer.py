"""The producer without Kafka: what is acknowledged, refused, and settled later."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from agents.distributor.record_producer import KafkaUnavailable, Record, RecordProducer
from agents.stream.kafka_client import KafkaClient
from tests.helpers.loops import in_loop


class Kafka:
    """In place of aiokafka's producer."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.pending: list[asyncio.Future[Any]] = []
        self.refuse_times = 0
        self.first_offset = 7
        self.error: Exception | None = None

    async def send(self, _: str, value: bytes, *__: Any, **___: Any) -> "asyncio.Future[None]":
        if self.refuse_times:
            self.refuse_times -= 1
            raise KafkaTimeoutError
        if self.error is not None:
            raise self.error
        self.sent.append(value)
        self.pending.append(asyncio.get_running_loop().create_future())
        return self.pending[-1]

    def acknowledge(self) -> None:
        for n, future in enumerate(self.pending):
            future.set_result(SimpleNamespace(topic="spans", partition=n, offset=self.first_offset + n))
        self.pending.clear()


def producer(timeout_s: float = 0.05) -> tuple[RecordProducer, Kafka]:
    made = RecordProducer(KafkaClient.plain("127.0.0.1:1"), "spans", 1 << 20, timeout_s)
    made._producer = kafka = Kafka()
    return made, kafka


RECORDS = [Record(0, b"t", b"one", []), Record(1, b"t", b"two", [])]


@in_loop
async def test_acknowledged() -> None:
    """Returns when the last record is acknowledged."""
    writer, kafka = producer(5)
    writing = asyncio.create_task(writer.write(RECORDS))
    while len(kafka.sent) < 2:
        await asyncio.sleep(0)
    assert not writing.done()
    kafka.acknowledge()
    await writing


@in_loop
async def test_offsets_are_told() -> None:
    """Of what Kafka has: it was there at the latest now. Not of what a retry found written, whose offset is unknown."""
    writer, kafka = producer(5)
    reply: list[tuple[str, int, int]] = []
    writer.acknowledged = lambda topic, partition, end, _: reply.append((topic, partition, end))
    for first_offset in (7, -2):
        kafka.first_offset = first_offset
        writing = asyncio.create_task(writer.write(RECORDS))
        while len(kafka.pending) < 2:
            await asyncio.sleep(0)
        kafka.acknowledge()
        await writing
    assert reply == [("spans", 0, 8), ("spans", 1, 9)]


@in_loop
async def test_unsettled() -> None:
    """No acknowledgement in time: refused, and nothing new is taken until the records are written after all."""
    writer, kafka = producer()
    with pytest.raises(KafkaUnavailable) as refused:
        await writer.write(RECORDS)
    settled = refused.value.settled
    assert settled is not None
    with pytest.raises(KafkaUnavailable, match="earlier") as quick:
        await writer.write(RECORDS)
    assert quick.value.settled is None
    assert len(kafka.sent) == 2, "what is refused at once is not handed to Kafka"
    kafka.acknowledge()
    await settled
    await asyncio.sleep(0)
    again = asyncio.create_task(writer.write(RECORDS))
    while len(kafka.sent) < 4:
        await asyncio.sleep(0)
    kafka.acknowledge()
    await again


@in_loop
async def test_a_full_buffer_is_tried_again() -> None:
    """All records of a batch get in, or the client would be refused for some."""
    writer, kafka = producer(5)
    kafka.refuse_times = 3
    writing = asyncio.create_task(writer.write(RECORDS))
    while len(kafka.sent) < 2:
        await asyncio.sleep(0)
    kafka.acknowledge()
    await writing
    assert kafka.sent == [b"one", b"two"]


@in_loop
async def test_an_error_of_kafka() -> None:
    """Refused with the reason; nothing is unsettled."""
    writer, kafka = producer()
    kafka.error = MessageSizeTooLargeError("too large")
    with pytest.raises(KafkaUnavailable, match="MessageSizeTooLarge") as refused:
        await writer.write(RECORDS)
    assert refused.value.settled is None
    kafka.error = None
    writing = asyncio.create_task(writer.write(RECORDS))
    while len(kafka.sent) < 2:
        await asyncio.sleep(0)
    kafka.acknowledge()
    await writing
