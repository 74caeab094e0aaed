"""The servers of the receivers."""

import ssl
from typing import Any

import faust
from aiohttp import web

from agents.distributor.span_writer import SpanWriter
from app.net.access import Access, load_credentials
from app.net.cors import Cors
from app.net.file_watch import FileWatch
from app.net.http2_types import Http2Limits
from app.net.http_guard import GuardedSite, HttpLimits
from app.net.tls import HTTP_2, TlsFiles
from app.receivers.decompress import BodyCosts
from app.receivers.input_budget import InputBudget
from app.receivers.otlp.grpc import GrpcReceiver
from app.receivers.otlp.http import BodyLimits, build_http_receiver, http_runner
from app.receivers.request_batcher import BatchLimits, RequestBatcher
from app.settings import Settings
from app.settings.server import Grpc, Http
from app.targets.servers import MIB, OTLP, STOP_GRACE_S, auth_file, start_listening, watch_tokens, watched_context


class ReceiverServers(faust.Service):  # type: ignore[misc]
    """Listens for OTLP over gRPC and HTTP while the worker runs."""

    def __init__(self, settings: Settings, writer: SpanWriter, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings, self._writer = settings, writer
        batch = settings.distributor.batch
        limits = BatchLimits(
            window_s=batch.window_ms / 1000,
            batch_bytes=batch.bytes_max,
            wait_s=settings.kafka.write_timeout_s,
        )
        self._batcher = RequestBatcher(writer, limits)
        share = settings.distributor.input.tenant_share if settings.multitenancy_enabled else 1.0
        self._budget = InputBudget(settings.distributor.input.bytes_max, share)
        self._watch = FileWatch(settings.server.file_poll_s)
        self._grpc: GrpcReceiver | None = None
        self._http: web.AppRunner | None = None

    async def on_start(self) -> None:
        """Connects to Kafka, then listens. Raises: StrettoError naming the setting if a port is taken or a file cannot
        be used.
        """
        settings = self._settings
        # Before anything is open: wrong files end the process.
        access = Access(multitenancy=settings.multitenancy_enabled, credentials=load_credentials(auth_file(settings)))
        watch_tokens(self._watch, settings, access)
        protocols = settings.distributor.receivers.otlp.protocols
        tls = watched_context(self._watch, TlsFiles.of(protocols.http.tls, f"{OTLP}.http.tls"))
        grpc_tls = watched_context(self._watch, TlsFiles.of(protocols.grpc.tls, f"{OTLP}.grpc.tls"), HTTP_2)
        await self._writer.start()
        await self._start_grpc(protocols.grpc, access, grpc_tls)
        await self._start_http(protocols.http, access, tls)
        self._watch.start()

    async def _start_grpc(self, grpc: Grpc, access: Access, tls: ssl.SSLContext | None) -> None:
        limits = Http2Limits(
            head_s=grpc.read_header_timeout_s,
            request_s=grpc.read_timeout_s,
            idle_s=grpc.idle_timeout_s,
            write_s=grpc.write_timeout_s,
            header_bytes_max=grpc.header_bytes_max,
            streams_max=grpc.max_concurrent_streams,
            connections_max=grpc.connections_max,
        )
        server = GrpcReceiver(
            self._batcher,
            grpc.endpoint,
            access,
            message_bytes_max=grpc.max_recv_msg_size_mib * MIB,
            tls=tls,
            budget=self._budget,
            limits=limits,
            costs=self._costs(),
            threads=self._settings.distributor.input.body_threads,
        )
        await start_listening(server, grpc.endpoint, f"{OTLP}.grpc.endpoint")
        self._grpc = server

    def _costs(self) -> BodyCosts:
        costs = self._settings.distributor.input
        return BodyCosts(costs.body_cpu_s_max, costs.members_max, costs.ratio_max)

    async def _start_http(self, http: Http, access: Access, tls: ssl.SSLContext | None) -> None:
        bodies = BodyLimits(
            http.max_request_body_size,
            http.max_json_body_size,
            http.read_timeout_s,
            self._costs(),
            self._settings.distributor.input.body_threads,
        )
        cors = http.cors
        allowed = Cors(cors.allowed_origins, cors.allowed_headers, cors.max_age) if cors.allowed_origins else None
        app = build_http_receiver(self._batcher, access, bodies, self._budget, allowed)
        self._http = http_runner(app, http.header_bytes_max)
        host, _, port = http.endpoint.rpartition(":")
        await self._http.setup()
        limits = HttpLimits(
            head_s=http.read_header_timeout_s,
            head_bytes_max=http.header_bytes_max,
            idle_s=http.idle_timeout_s,
            write_s=http.write_timeout_s,
            connections_max=http.connections_max,
        )
        site = GuardedSite(self._http, host.strip("[]"), int(port), name="otlp", limits=limits, tls=tls)
        await start_listening(site, http.endpoint, f"{OTLP}.http.endpoint")

    async def on_stop(self) -> None:
        """No new requests; those that are in are written and answered."""
        await self._watch.stop()
        if self._grpc is not None:
            await self._grpc.stop(STOP_GRACE_S)
        if self._http is not None:
            await self._http.cleanup()
        await self._batcher.drain()
        await self._writer.stop(STOP_GRACE_S)
