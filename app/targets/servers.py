"""The sockets of the process, as parts of the worker: the query API, and the receivers of OTLP."""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faust
from aiohttp import web

from agents.distributor.span_writer import SpanWriter
from app.api.backend import Backend
from app.api.call import ACCESS
from app.api.params import LIMITS
from app.api.server import api_runner, build_api, url_bytes_max
from app.api.status.status import Configs, no_overrides
from app.api.tempo.streaming import build_streaming
from app.errors import StrettoError
from app.net.access import Access, load_credentials
from app.net.cors import Cors
from app.net.file_watch import FileWatch
from app.net.http2_types import Http2Limits
from app.net.http_guard import GuardedSite, HttpLimits
from app.net.shared_port import SharedSite
from app.net.tls import HTTP_1, HTTP_1_AND_GRPC, HTTP_2, TlsFiles, renew, tls_context
from app.receivers.decompress import BodyCosts
from app.receivers.input_budget import InputBudget
from app.receivers.otlp.grpc import GrpcReceiver
from app.receivers.otlp.http import BodyLimits, build_http_receiver, http_runner
from app.receivers.request_batcher import Gatherer, GatherLimits
from app.settings import Settings, to_yaml
from app.settings.server import Grpc, Http
from app.settings.show import changed_yaml
from app.targets.kafka_rings import KafkaRings

log = logging.getLogger(__name__)

_MIB = 1 << 20
_STOP_GRACE_S = 1.0
_OTLP = "distributor.receivers.otlp.protocols"
_QUERY_TLS = "server.http_tls_config"


class QueryServer(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Tempo's API, HTTP and gRPC on one port. It answers /ready and /metrics from the start."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        close: Callable[[], None],
        rings: KafkaRings | None = None,
        runtime: Callable[[], str] = no_overrides,
        **kwargs: Any,
    ) -> None:
        """runtime: see status.Configs"""
        super().__init__(**kwargs)
        self._runtime = runtime
        self._settings, self._backend, self._close, self._rings = settings, backend, close, rings
        self._watch = FileWatch(settings.server.file_poll_s)
        self._runner: web.AppRunner | None = None
        self._site: SharedSite | None = None
        self._grpc: Any = None

    async def on_start(self) -> None:
        """Listens. Raises: StrettoError naming the setting if the port is taken or a file cannot be used."""
        settings, frontend = self._settings, self._settings.query_frontend
        server = settings.server
        api = build_api(
            self._backend,
            multitenancy=settings.multitenancy_enabled,
            default_limit=frontend.search.default_result_limit,
            max_limit=frontend.search.max_result_limit,
            default_spss=frontend.search.default_spans_per_span_set,
            max_spss=frontend.search.max_spans_per_span_set,
            max_range_s=round(frontend.search.max_duration_s),
            max_query_bytes=frontend.max_query_expression_size_bytes,
            max_metrics_range_s=round(frontend.metrics.max_duration_s),
            max_trace_bytes=frontend.trace_by_id.max_bytes_per_trace,
            max_page_spans=frontend.trace_by_id.max_spans_per_page,
            max_message_bytes=server.grpc_server_max_send_msg_size,
            target=settings.target,
            configs=Configs(to_yaml(settings), to_yaml(Settings()), changed_yaml(settings), self._runtime),
            credentials=load_credentials(auth_file(settings)),
            rings=self._rings,
            profiling=server.pprof_enabled,
        )
        watch_tokens(self._watch, settings, api[ACCESS])
        tls = watched_context(self._watch, TlsFiles.of(server.http_tls_config, _QUERY_TLS), HTTP_1_AND_GRPC)
        self._grpc = build_streaming(self._backend, api[LIMITS], api[ACCESS])
        grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()
        self._runner = api_runner(api)
        await self._runner.setup()
        limits = HttpLimits(
            head_s=server.http_server_read_header_timeout_s,
            head_bytes_max=server.http_header_bytes_max + url_bytes_max(api),
            idle_s=server.http_server_idle_timeout_s,
            write_s=server.http_server_write_timeout_s,
            connections_max=server.http_listen_conn_limit,
        )
        host, port = server.http_listen_address, server.http_listen_port
        self._site = SharedSite(
            self._runner, host, port, grpc_port, tls=tls, limits=limits, tunnels_max=server.grpc_listen_conn_limit
        )
        try:
            await _start(self._site, f"{host}:{port}", "PORT")
        except StrettoError:
            await self.on_stop()
            raise
        self._watch.start()

    async def on_stop(self) -> None:
        """Queries that run are given up."""
        await self._watch.stop()
        if self._rings is not None:
            await self._rings.close()
        if self._grpc is not None:
            await self._grpc.stop(None)
        if self._runner is not None:
            await self._runner.cleanup()
        self._close()


class ReceiverServers(faust.Service):  # type: ignore[misc]
    """OTLP over gRPC and HTTP."""

    def __init__(self, settings: Settings, writer: SpanWriter, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings, self._writer = settings, writer
        gather = settings.distributor.gather
        limits = GatherLimits(
            gather_s=gather.gather_ms / 1000,
            batch_bytes=gather.gather_bytes_max,
            wait_s=settings.kafka.write_timeout_s,
        )
        self._gatherer = Gatherer(writer, limits)
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
        tls = watched_context(self._watch, TlsFiles.of(protocols.http.tls, f"{_OTLP}.http.tls"))
        grpc_tls = watched_context(self._watch, TlsFiles.of(protocols.grpc.tls, f"{_OTLP}.grpc.tls"), HTTP_2)
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
            self._gatherer,
            grpc.endpoint,
            access,
            message_bytes_max=grpc.max_recv_msg_size_mib * _MIB,
            tls=tls,
            budget=self._budget,
            limits=limits,
            costs=self._costs(),
            threads=self._settings.distributor.input.body_threads,
        )
        await _start(server, grpc.endpoint, f"{_OTLP}.grpc.endpoint")
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
        app = build_http_receiver(self._gatherer, access, bodies, self._budget, allowed)
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
        await _start(site, http.endpoint, f"{_OTLP}.http.endpoint")

    async def on_stop(self) -> None:
        """No new requests; those that are in are written and answered."""
        await self._watch.stop()
        if self._grpc is not None:
            await self._grpc.stop(_STOP_GRACE_S)
        if self._http is not None:
            await self._http.cleanup()
        await self._gatherer.drain()
        await self._writer.stop(_STOP_GRACE_S)


async def _start(site: web.BaseSite | GrpcReceiver, where: str, setting: str) -> None:
    try:
        await site.start()
    except OSError as err:
        raise StrettoError(f"cannot listen on {where} ({setting}): {err.strerror or err}") from err


def auth_file(settings: Settings) -> Path | None:
    """The file of tokens, if there is one."""
    file = settings.server.auth_file
    return Path(file) if file else None


def watch_tokens(watch: FileWatch, settings: Settings, access: Access) -> None:
    """Tokens count as soon as they are in the file, and no longer than they are."""
    file = auth_file(settings)
    if file is not None:
        watch.add("auth_file", [file], lambda: load_credentials(file), access.replace)


def watched_context(
    watch: FileWatch, files: TlsFiles | None, protocols: Sequence[str] = HTTP_1
) -> ssl.SSLContext | None:
    """The context of these files, renewed with them. Raises: StrettoError"""
    if files is None:
        return None
    context = tls_context(files, protocols)
    watch.add(files.setting, files.paths(), lambda: renew(context, files))
    return context
