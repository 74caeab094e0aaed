"""The compacted topic of members: one partition, read whole by everybody, in no consumer group."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from agents.stream.kafka_client import KafkaClient

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_MS: Final = 5_000
_WRITE_S: Final = 3.0
_CLOSE_S: Final = 0.5
_POLL_MS: Final = 500
_AGAIN_S: Final = 0.5
_RECORDS_AT_ONCE: Final = 500

Take = Callable[[bytes | None, bytes | None, int], None]  # key, value, timestamp in ms


def topic_of(group_prefix: str) -> str:
    """The topic's name: clusters that share a Kafka differ in the prefix of their consumer groups."""
    return f"{group_prefix}-members"


class MembersTopic:
    """One for a process; belongs to its event loop. It connects when it is first needed, and again after errors."""

    def __init__(self, name: str, client: KafkaClient) -> None:
        self.name = name
        self._client = client
        self._producer: Any = None
        self._partition = TopicPartition(name, 0)
        self._next_offset: int | None = None

    async def write(self, key: str, value: bytes | None) -> None:
        """Returns when Kafka has the record. Raises: KafkaError, OSError, TimeoutError"""
        try:
            async with asyncio.timeout(_WRITE_S):
                if self._producer is None:
                    producer = AIOKafkaProducer(acks="all", linger_ms=0, **self._arguments())
                    self._producer = producer
                    await producer.start()
                await self._producer.send_and_wait(self.name, value, key.encode(), partition=0)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Closes the connection of `write`; the next one opens another."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _closed(producer.stop())

    async def read(self, take: Take, replayed: Callable[[], None]) -> None:
        """Hands over every record, for ever: first those that are there, then calls `replayed`, then new ones."""
        while True:
            try:
                await self._read_once(take, replayed)
            except (KafkaError, OSError, TimeoutError) as err:
                log.warning("the topic of members cannot be read now, trying again: %r", err)
            await asyncio.sleep(_AGAIN_S)

    async def _read_once(self, take: Take, replayed: Callable[[], None]) -> None:
        consumer = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **self._arguments())
        try:
            await consumer.start()
            await self._read(consumer, take, replayed)
        finally:
            await _closed(consumer.stop())

    def _arguments(self) -> dict[str, Any]:
        return {"request_timeout_ms": _REQUEST_TIMEOUT_MS, **self._client.arguments()}

    async def _read(self, consumer: Any, take: Take, replayed: Callable[[], None]) -> None:
        consumer.assign([self._partition])
        if self._next_offset is None:
            await consumer.seek_to_beginning(self._partition)
        else:
            consumer.seek(self._partition, self._next_offset)
        end = (await consumer.end_offsets([self._partition]))[self._partition]
        told = False
        while True:
            # Where the last records are compacted away only the position says that the end is reached.
            if not told and await consumer.position(self._partition) >= end:
                told = True
                replayed()
            found = await consumer.getmany(self._partition, timeout_ms=_POLL_MS, max_records=_RECORDS_AT_ONCE)
            for record in found.get(self._partition, ()):
                take(record.key, record.value, record.timestamp)
                self._next_offset = record.offset + 1


async def _closed(closing: Any) -> None:
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await closing
