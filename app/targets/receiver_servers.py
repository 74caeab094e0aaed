"""The receivers of a process: all rows of `app.receivers.table`."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import faust

from agents.distributor.span_writer import SpanWriter
from app.errors import StrettoError
from app.net.access import Access, load_credentials
from app.net.file_watch import FileWatch
from app.net.listening import STOP_GRACE_S, auth_file, start_listening, watch_tokens
from app.receivers.decompress import BodyCosts
from app.receivers.ingress import Ingress, Tenancy
from app.receivers.input_budget import InputBudget
from app.receivers.receiver import Receiver, ReceiverContext
from app.receivers.request_batcher import BatchLimits, RequestBatcher
from app.receivers.table import RECEIVERS, ReceiverRow
from app.settings import Settings

log = logging.getLogger(__name__)


class ReceiverServers(faust.Service):  # type: ignore[misc]
    """Listens for spans while the worker runs."""

    def __init__(self, settings: Settings, writer: SpanWriter, tenancy: Tenancy, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings, self._writer, self._tenancy = settings, writer, tenancy
        batch = settings.distributor.batch
        limits = BatchLimits(
            window_s=batch.window_ms / 1000,
            batch_bytes=batch.bytes_max,
            wait_s=settings.kafka.write_timeout_s,
        )
        self._batcher = RequestBatcher(writer, limits)
        self._watch = FileWatch(settings.server.file_poll_s)
        self._listening: list[Receiver] = []

    async def on_start(self) -> None:
        """Connects to Kafka, then listens. Raises: StrettoError naming the setting if a port is taken or a file cannot
        be used.
        """
        settings = self._settings
        context = self._context()
        watch_tokens(self._watch, settings, context.access)
        # Before anything is open: wrong files end the process.
        receivers = [(row, row.build(settings, self._of(row, context))) for row in RECEIVERS if row.listens(settings)]
        for forwarder in self._tenancy.forwarding.forwarders.values():
            forwarder.start()
        await self._writer.start()
        for row, receiver in receivers:
            if receiver is None:
                log.warning(
                    "%s is off: %s.tenant does not say whose spans come without headers", row.label, row.setting
                )
                continue
            try:
                await start_listening(
                    receiver,
                    row.section(settings).endpoint,
                    f"{row.setting}.endpoint",
                    reuse_port=settings.server.reuse_port,
                )
            except StrettoError as err:
                if not row.optional(settings):
                    raise
                log.warning("%s is off: %s", row.label, err)
                await receiver.stop(0)
                continue
            self._listening.append(receiver)
        self._watch.start()

    def _of(self, row: ReceiverRow, context: ReceiverContext) -> ReceiverContext:
        """What a receiver uses, with its own door to the batcher."""
        receiver, _, transport = row.name.partition("_")
        return replace(context, batcher=Ingress(context.batcher, self._tenancy, receiver, transport or "http"))

    def _context(self) -> ReceiverContext:
        settings, limits = self._settings, self._settings.distributor.input
        share = limits.tenant_share if settings.multitenancy_enabled else 1.0
        return ReceiverContext(
            batcher=self._batcher,
            budget=InputBudget(limits.bytes_max, share),
            access=Access(
                multitenancy=settings.multitenancy_enabled, credentials=load_credentials(auth_file(settings))
            ),
            watch=self._watch,
            costs=BodyCosts(limits.body_cpu_s_max, limits.members_max, limits.ratio_max),
            body_threads=limits.body_threads,
        )

    async def on_stop(self) -> None:
        """No new requests; those that are in are written and answered."""
        await self._watch.stop()
        # Side by side: one whose client does not finish costs the others nothing of the time that a stop has.
        stops = await asyncio.gather(*(one.stop(STOP_GRACE_S) for one in self._listening), return_exceptions=True)
        for receiver, error in zip(self._listening, stops, strict=True):
            if error is not None:
                log.error("%s did not stop well", type(receiver).__name__, exc_info=error)
        await self._batcher.drain()
        loop = asyncio.get_running_loop()
        ends = (forwarder.stop for forwarder in self._tenancy.forwarding.forwarders.values())
        await asyncio.gather(*(loop.run_in_executor(None, end, STOP_GRACE_S) for end in ends))
        await self._writer.stop(STOP_GRACE_S)
