"""Topic `otlp_spans` → topic `spans`: spans from Kafka producers such as the OpenTelemetry Collector.

Each message is one ExportTraceServiceRequest, with any key. The receivers' code decodes messages in batches. The agent
commits an offset after Kafka has acknowledged everything up to it in `spans`.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from faust.types import TP
from prometheus_client import Counter

from agents.distributor.span_writer import NotAcknowledged, Outcome, Request, SpanWriter
from agents.limited_log import limited_logger
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events
from tables.errors import WireError
from tables.tenant import valid_tenant

log = limited_logger(__name__)

CONSUMED = Counter(
    "stretto_otlp_messages_total", "Messages of topic otlp_spans whose spans were written to topic spans."
)
SKIPPED = Counter(
    "stretto_otlp_messages_skipped_total",
    "Messages of topic otlp_spans that were skipped, because they do not decode, or because the header "
    "X-Scope-OrgID is invalid or duplicate (reason: tenant).",
    ["reason"],
)
WAITS = Counter(
    "stretto_otlp_batches_waited_total", "Times that a batch of topic otlp_spans had to wait before it was written."
)

_BATCH_BYTES_MAX = 1_500_000
_BATCH_MESSAGES_MAX = 64
_BATCH_WAIT_S = 0.05
_RETRY_S = 1.0
_TENANT_HEADER = "x-scope-orgid"


def register(app: StreamApp, topic_name: str, writer: SpanWriter, default_tenant: str) -> None:
    """Adds the agent. A message belongs to the default tenant, unless its header X-Scope-OrgID names another.

    A message with a duplicate header, or a header that names no valid tenant, is skipped and counted, like a message
    that does not decode.
    """
    topic = app.topic(topic_name, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)

    batcher = _Batcher(app, writer, default_tenant)
    app.owned_by(batcher)

    @app.agent(topic, name="distributor")
    async def distributor(stream: Any) -> None:
        async for event in events(stream):
            await batcher.add(event)


class _Batcher:
    """Collects messages, writes them, commits their offsets. It writes one batch after the other."""

    def __init__(self, app: StreamApp, writer: SpanWriter, default_tenant: str) -> None:
        self._app, self._writer, self._tenant = app, writer, default_tenant
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
            requests: list[Request] = []
            sent: list[Any] = []
            ends: dict[TP, int] = {}
            for message in messages:
                ends[message.tp] = max(message.offset + 1, ends.get(message.tp, 0))
                try:
                    requests.append(Request(self._tenant_of(message), message.value or b""))
                except WireError as err:
                    _skip(message, str(err), "tenant")
                else:
                    sent.append(message)
            outcomes = await self._written(requests) if requests else []
            for message, outcome in zip(sent, outcomes, strict=True):
                if outcome.malformed is not None:
                    _skip(message, outcome.malformed, outcome.reason)
            CONSUMED.inc(sum(outcome.malformed is None for outcome in outcomes))
            if generation == self._app.consumer_generation_id:
                self._taken |= ends
            await self._app.consumer.commit_through(ends)

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
                log.warning("otlp_spans waits: %s", err)
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
                log.exception("otlp_spans: %d messages are not written, again in %g s", len(requests), _RETRY_S)
                await asyncio.sleep(_RETRY_S)

    def _tenant_of(self, message: Any) -> str:
        """The tenant of a message. Raises: WireError if the header is duplicate or names no valid tenant"""
        headers = message.headers or ()
        pairs = headers.items() if hasattr(headers, "items") else headers
        values = [bytes(value or b"") for name, value in pairs if name.lower() == _TENANT_HEADER]
        if not values:
            return self._tenant
        named = values[0].decode(errors="replace")
        if len(values) > 1:
            raise WireError(f"the header {_TENANT_HEADER} is there {len(values)} times; send it once")
        if not valid_tenant(named):
            raise WireError(f"the header {_TENANT_HEADER} {named[:50]!r} is not a tenant's name")
        return named


def _skip(message: Any, why: str, reason: str) -> None:
    SKIPPED.labels(reason).inc()
    log.warning("skipped %s[%s]@%s (%s): %s", message.topic, message.partition, message.offset, reason, why)
