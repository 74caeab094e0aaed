"""The topic of jobs: the leader's side, which writes records and learns how far the consumer group is."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from agents.compactor.job import Job
from agents.stream.kafka_client import KafkaClient
from agents.stream.kafka_start import reached

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_MS: Final = 10_000
_WRITE_S: Final = 15.0
_CLOSE_S: Final = 1.0


class JobSender:
    """Writes jobs to the topic, to one partition after the other. It connects when it is first needed."""

    def __init__(self, kafka: KafkaClient, topic: str, partitions: int) -> None:
        self._kafka, self.topic, self.partitions = kafka, topic, partitions
        self._producer: Any = None
        self._next = 0

    async def send(self, job: Job) -> tuple[int, int]:
        """Returns partition and offset of the record, once Kafka has acknowledged it.

        Raises: KafkaError, OSError, TimeoutError; Kafka may have the record all the same
        """
        if self._producer is None:
            self._producer = await reached("open the producer of jobs", self._opened, within_s=_WRITE_S)
        partition = self._next % self.partitions
        self._next += 1
        try:
            async with asyncio.timeout(_WRITE_S):
                sent = await self._producer.send_and_wait(
                    self.topic, job.encode(), job.tenant.encode(), partition=partition
                )
        except (KafkaError, OSError, TimeoutError):
            await self.stop()
            raise
        return partition, int(sent.offset)

    async def _opened(self) -> Any:
        producer = AIOKafkaProducer(
            **self._kafka.arguments(), acks="all", request_timeout_ms=_REQUEST_TIMEOUT_MS, linger_ms=0
        )
        try:
            await producer.start()
        except BaseException:
            await _closed(producer)
            raise
        return producer

    async def stop(self) -> None:
        """Closes the connection; the next job opens another one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _closed(producer)


async def _closed(producer: Any) -> None:
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await producer.stop()
