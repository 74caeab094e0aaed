"""Topics of others → topic `spans`: spans from Kafka producers such as the OpenTelemetry Collector.

`sources.py` says which topics, and what their messages are. Each becomes one ExportTraceServiceRequest. From there on
it takes the receivers' way, in batches. The agent commits an offset after Kafka has acknowledged everything up to it in
`spans`. A message that cannot be read is counted, logged, and copied to the dead-letter topic.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from faust.types import TP
from prometheus_client import Counter

from agents.distributor.dead_letters import DeadLetter, DeadLetters
from agents.distributor.encodings import Translated
from agents.distributor.sources import TopicSources
from agents.distributor.span_writer import DISCARDED, NotAcknowledged, Outcome, Request, SpanWriter
from agents.limited_log import limited_logger
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events
from tables.errors import WireError, as_value
from tables.wall import walled

log = limited_logger(__name__)

CONSUMED = Counter(
    "stretto_otlp_messages_total",
    "Messages of topic otlp_spans, and of those of distributor.receivers.kafka, whose spans were written to topic "
    "spans.",
)
SKIPPED = Counter(
    "stretto_otlp_messages_skipped_total",
    "Messages of topic otlp_spans, and of those of distributor.receivers.kafka, that were skipped, because they do not "
    "decode, or because their header or key names no tenant (reason: tenant).",
    ["reason"],
)
WAITS = Counter(
    "stretto_otlp_batches_waited_total",
    "Times that a batch of topic otlp_spans, or of those of distributor.receivers.kafka, had to wait before it was "
    "written.",
)

_BATCH_BYTES_MAX = 1_500_000
# In some encodings a message is one span.
_BATCH_MESSAGES_MAX = 1024
_BATCH_WAIT_S = 0.05
_RETRY_S = 1.0
# More is translated on a thread, so that it delays nothing else.
_TRANSLATED_HERE_BYTES_MAX: Final = 16 << 10


# A message that was written, and what became of its spans.
Took = Callable[[Request, Outcome], None]


def _nobody_asks(_: Request, __: Outcome) -> None:
    pass


def _received_ns(message: Any) -> int:
    """When the message was sent, as Kafka says: one that waited is not older for that."""
    return round((message.timestamp or 0) * 1e9)


def register(
    app: StreamApp,
    sources: TopicSources,
    writer: SpanWriter,
    decode_s_max: float,
    dead: DeadLetters | None,
    took: Took = _nobody_asks,
) -> None:
    """Adds the agent. decode_s_max: CPU seconds that a message may take. dead: None: there is no dead-letter topic
    took: is told of each message that is written
    """
    topic = app.topic(*sources.topics, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)

    batcher = _Batcher(app, writer, sources, decode_s_max, dead, took)
    app.owned_by(batcher)

    @app.agent(topic, name="distributor")
    async def distributor(stream: Any) -> None:
        async for event in events(stream):
            await batcher.add(event)


class _Batcher:
    """Collects messages, writes them, commits their offsets. It writes one batch after the other."""

    def __init__(
        self,
        app: StreamApp,
        writer: SpanWriter,
        sources: TopicSources,
        decode_s_max: float = 10.0,
        dead: DeadLetters | None = None,
        took: Took = _nobody_asks,
    ) -> None:
        self._app, self._writer, self._sources, self._dead, self._took = app, writer, sources, dead, took
        self._decode_s_max = decode_s_max
        self._thread = ThreadPoolExecutor(1, "translate")
        self._messages: list[Any] = []
        self._bytes = 0
        self._timer: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._taken: dict[TP, int] = {}
        self._waits = ""

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Kafka's committed offsets say where to continue; this only records the assignment."""
        mine, consumer = set(assignment), self._app.consumer
        committed = {tp: offset for tp, (offset, _) in (await consumer.committed(mine)).items()} if mine else {}
        new = mine - set(committed)
        self._taken = {**committed, **(await consumer.earliest_offsets(*new) if new else {})}
        return {}

    async def emptied(self) -> None:
        """As `resume`."""
        await self.resume(())

    def taken(self) -> dict[TP, int]:
        """The first offset of each partition that is not written yet."""
        return self._taken

    def waits(self) -> dict[int | None, str]:
        """Why the agent reads nothing now."""
        return {None: self._waits} if self._waits else {}

    async def add(self, event: Any) -> None:
        message = event.message
        self._messages.append(message)
        self._bytes += len(message.value or b"")
        if self._bytes >= _BATCH_BYTES_MAX or len(self._messages) >= _BATCH_MESSAGES_MAX:
            await self._write()
        elif self._timer is None:
            self._timer = asyncio.ensure_future(self._write_soon())

    async def _write_soon(self) -> None:
        await asyncio.sleep(_BATCH_WAIT_S)
        self._timer = None
        await self._write()

    async def _write(self) -> None:
        async with self._lock:
            messages, self._messages, self._bytes = self._messages, [], 0
            # After the assignment has ended, another worker writes these messages.
            generation = self._app.consumer_generation_id
            messages = [m for m in messages if m.generation_id == generation]
            if not messages:
                return
            ends: dict[TP, int] = {}
            for message in messages:
                ends[message.tp] = max(message.offset + 1, ends.get(message.tp, 0))
            skipped, sent, requests = await self._read(messages)
            outcomes = await self._written(requests) if requests else []
            for message, request, outcome in zip(sent, requests, outcomes, strict=True):
                if outcome.malformed is not None:
                    skipped.append(DeadLetter(message, outcome.reason, outcome.malformed))
                else:
                    self._took(request, outcome)
                for one in outcome.discarded:
                    place = (message.topic, message.partition, message.offset)
                    log.warning("%s[%s]@%s: %d spans are not stored: they %s", *place, one.spans, one.text)
            await self._skip(skipped)
            CONSUMED.inc(sum(outcome.malformed is None for outcome in outcomes))
            if generation == self._app.consumer_generation_id:
                self._taken |= ends
            await self._app.consumer.commit_through(ends)

    async def _read(self, messages: Sequence[Any]) -> tuple[list[DeadLetter], list[Any], list[Request]]:
        """What cannot be read, what can, and the requests of the latter."""
        foreign = [message for message in messages if self._sources.source_of(message.topic).translate is not None]
        if sum(len(message.value or b"") for message in foreign) <= _TRANSLATED_HERE_BYTES_MAX:
            found = self._requests(messages)
        else:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, walled, self._requests, messages)
        skipped: list[DeadLetter] = []
        sent: list[Any] = []
        requests: list[Request] = []
        for message, request in zip(messages, found, strict=True):
            if isinstance(request, WireError):
                skipped.append(DeadLetter(message, request.reason, str(request)))
            else:
                sent.append(message)
                requests.append(request)
        return skipped, sent, requests

    def _requests(self, messages: Sequence[Any]) -> list[Request | WireError]:
        """The request of each message, or what is wrong with it."""
        found: list[Request | WireError] = []
        for message in messages:
            try:
                found.append(self._request(message))
            except WireError as err:
                found.append(as_value(err))
            except MemoryError:
                raise
            except Exception:  # a fault of ours, or of a library: the other messages must come through
                log.exception("%s[%s]@%s cannot be translated", message.topic, message.partition, message.offset)
                text = "the message cannot be translated; the server's log says why"
                found.append(WireError(text, "unexpected"))
        return found

    def _request(self, message: Any) -> Request:
        source = self._sources.source_of(message.topic)
        tenant, value = source.tenant_of(message), message.value or b""
        if source.translate is None:
            return Request(tenant, value, _received_ns(message))
        written_us = round((message.timestamp or 0) * 1e6)
        translated: Translated = walled(source.translate, value, written_us, self._decode_s_max)
        if translated.left_out:
            DISCARDED.labels("unknown_field").inc(translated.left_out)
            place = (message.topic, message.partition, message.offset)
            log.warning("%s[%s]@%s: %s", *place, translated.text)
        return Request(tenant, translated.body, _received_ns(message))

    async def _skip(self, letters: Sequence[DeadLetter]) -> None:
        for message, reason, error in letters:
            SKIPPED.labels(reason).inc()
            place = (message.topic, message.partition, message.offset)
            log.warning("skipped %s[%s]@%s (%s): %s", *place, reason, error)
        if letters and self._dead is not None:
            self._waits = f"the dead-letter topic does not take {len(letters)} messages"
            try:
                await self._dead.write(letters)
            finally:
                self._waits = ""

    async def _written(self, requests: list[Request]) -> list[Outcome]:
        try:
            return await self._written_at_last(requests)
        finally:
            self._waits = ""

    async def _written_at_last(self, requests: list[Request]) -> list[Outcome]:
        """Retries until the write works. A bad message shows in its own outcome; any other error concerns the whole
        batch.
        """
        while True:
            try:
                return await self._writer.write(requests)
            except NotAcknowledged as err:
                WAITS.inc()
                log.warning("spans from Kafka wait: %s", err)
                self._waits = str(err)
                if err.settled is None:
                    await asyncio.sleep(_RETRY_S)
                    continue
                await asyncio.wait({err.settled})
                if err.settled.exception() is None:
                    return err.outcomes
            except Exception:  # a fault of ours must neither lose the messages nor end the agent
                WAITS.inc()
                self._waits = "a fault; the log has it"
                log.exception("%d messages are not written, again in %g s", len(requests), _RETRY_S)
                await asyncio.sleep(_RETRY_S)
