"""Messages that cannot be read → the dead-letter topic, as they came, with headers that say why and where they were."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter

from agents.limited_log import limited_logger
from agents.stream.kafka_client import KafkaClient
from agents.stream.kafka_start import reached

log = limited_logger(__name__)

DEAD_LETTERS: Final = Counter(
    "stretto_dead_letters_total",
    "Messages that could not be read and went to the dead-letter topic, by result: written; lost (the topic does not "
    "take them).",
    ["result"],
)
_PREFIX: Final = "stretto.dead_letter."
_REQUEST_TIMEOUT_MS: Final = 10_000
_AGAIN_S: Final = 1.0
_WITHIN_S: Final = 60.0
_CLOSE_S: Final = 0.5
_TEXT_MAX: Final = 1000


class DeadLetter(NamedTuple):
    """message: Faust's; reason: as of `stretto_otlp_messages_skipped_total`"""

    message: Any
    reason: str
    error: str

    def headers(self) -> list[tuple[str, bytes]]:
        """Those of the message, and where it was."""
        message = self.message
        given = message.headers or ()
        pairs = given.items() if hasattr(given, "items") else given
        place = {
            "topic": message.topic,
            "partition": str(message.partition),
            "offset": str(message.offset),
            "reason": self.reason,
            "error": self.error[:_TEXT_MAX],
        }
        return [(name, value) for name, value in pairs] + [
            (f"{_PREFIX}{name}", text.encode(errors="replace")) for name, text in place.items()
        ]


class DeadLetters(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Writes them. One per process; belongs to its event loop. It connects when it is first needed."""

    def __init__(
        self, kafka: KafkaClient, topic: str, message_bytes_max: int, within_s: float = _WITHIN_S, **kwargs: Any
    ) -> None:
        """message_bytes_max: of a message that is not compressed"""
        super().__init__(**kwargs)
        self._kafka, self._topic, self._message_bytes_max = kafka, topic, message_bytes_max
        self._within_s = within_s
        self._producer: Any = None

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Returns when Kafka has them. What it refuses, or does not take within a minute, is counted and lost: a
        partition must not stand for it.
        """
        for letter in letters:
            DEAD_LETTERS.labels("written" if await self._written(letter) else "lost").inc()

    async def _written(self, letter: DeadLetter) -> bool:
        end_s = time.monotonic() + self._within_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, end_s - time.monotonic())):
                    await self._send(letter)
            except (KafkaError, OSError, TimeoutError, ValueError, AssertionError) as err:
                again = not isinstance(err, KafkaError) or err.retriable
                if not again or isinstance(err, ValueError | AssertionError) or time.monotonic() >= end_s:
                    message = letter.message
                    place = (message.topic, message.partition, message.offset)
                    log.error("%s[%s]@%s is lost: topic %s does not take it: %r", *place, self._topic, err)
                    return False
                await self._close()
                await asyncio.sleep(_AGAIN_S)
            else:
                return True

    async def _send(self, letter: DeadLetter) -> None:
        if self._producer is None:
            self._producer = await reached("open the producer of dead letters", self._opened, within_s=self._within_s)
        message = letter.message
        await self._producer.send_and_wait(self._topic, message.value, message.key, headers=letter.headers())

    async def _opened(self) -> Any:
        producer = AIOKafkaProducer(
            **self._kafka.arguments(),
            acks="all",
            # The broker has its own limit, of what is compressed.
            compression_type="zstd",
            max_request_size=self._message_bytes_max,
            request_timeout_ms=_REQUEST_TIMEOUT_MS,
            linger_ms=0,
        )
        try:
            await producer.start()
        except BaseException:
            with suppress(KafkaError, OSError, TimeoutError):
                await producer.stop()
            raise
        return producer

    async def on_stop(self) -> None:
        """Closes the connection."""
        await self._close()

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await producer.stop()
