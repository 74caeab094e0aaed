"""Finds the topics that the regular expressions of the settings match, also those that are made later."""

import logging
from contextlib import suppress
from typing import Any, Final

import faust
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.distributor.sources import TopicSources
from agents.stream.kafka_client import KafkaClient
from agents.stream.kafka_start import ATTEMPT_S, bounded, reached
from agents.stream.stream_app import StreamApp

log = logging.getLogger(__name__)

# Faust waits as long before it subscribes to other topics: there may be more to come.
_SUBSCRIBE_AFTER_S: Final = 1.0


class TopicWatch(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Keeps `TopicSources.topics`, and what the app subscribes to, as the topics that are there."""

    def __init__(
        self, app: StreamApp, kafka: KafkaClient, sources: TopicSources, every_s: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._app, self._kafka, self._sources, self._every_s = app, kafka, sources, every_s
        self._named = list(sources.topics)
        app.topics._resubscribe_sleep_lock_seconds = _SUBSCRIBE_AFTER_S  # noqa: SLF001

    async def begin(self) -> None:
        """Before the app subscribes. Raises: KafkaError, OSError, TimeoutError."""
        self._use(await reached("ask Kafka for its topics", self._there))

    @faust.Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(self._every_s)
            try:
                self._use(await bounded(self._there(), ATTEMPT_S))
            except (KafkaError, OSError, TimeoutError) as err:
                log.warning("Kafka did not say which topics there are: %r", err)

    def _use(self, there: list[str]) -> None:
        topics = self._named + self._sources.found(there)
        if topics != self._sources.topics:
            new, gone = (
                sorted(set(a) - set(b)) for a, b in ((topics, self._sources.topics), (self._sources.topics, topics))
            )
            log.info(
                "topics with spans: %s; new: %s; gone: %s", *(", ".join(some) or "none" for some in (topics, new, gone))
            )
            self._sources.topics[:] = topics
        if self._app.started and self._app.consumer.topics != frozenset(topics):
            # Faust drops a change that comes in a rebalance: then it is told again, the next time.
            for channel in self._app.topics:
                channel.topics = list(topics)
            self._app.topics._flag_changes()  # noqa: SLF001

    async def _there(self) -> list[str]:
        admin = AIOKafkaAdminClient(**self._kafka.arguments(), request_timeout_ms=int(ATTEMPT_S * 1000))
        try:
            await admin.start()
            found: list[str] = await admin.list_topics()
            return found
        finally:
            with suppress(KafkaError, OSError):
                await admin.close()
