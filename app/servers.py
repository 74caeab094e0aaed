"""The sockets of the process, as parts of the worker: the query API, and the receivers of OTLP."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
from aiohttp import web

from agents.span_writer import SpanWriter
from app.access import Credentials, load_credentials
from app.api.backend import Backend
from app.api.call import ACCESS
from app.api.params import LIMITS
from app.api.port import SharedSite, tls_context
from app.api.server import api_runner, build_api
from app.api.streaming import build_streaming
from app.errors import StrettoError
from app.receivers.gather import Gatherer, GatherLimits
from app.receivers.otlp_grpc import build_grpc_server
from app.receivers.otlp_http import build_http_receiver
from app.settings import Settings, to_yaml

log = logging.getLogger(__name__)

_MIB = 1 << 20
_STOP_GRACE_S = 1.0


class QueryServer(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Tempo's API, HTTP and gRPC on one port. It answers /ready and /metrics from the start."""

    def __init__(self, settings: Settings, backend: Backend, close: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings, self._backend, self._close = settings, backend, close
        self._runner: web.AppRunner | None = None
        self._site: SharedSite | None = None
        self._grpc: Any = None

    async def on_start(self) -> None:
        """Listens. Raises: StrettoError naming the setting if the port is taken or a file cannot be used."""
        settings, frontend = self._settings, self._settings.query_frontend
        api = build_api(
            self._backend,
            multitenancy=settings.multitenancy_enabled,
            default_limit=frontend.search.default_result_limit,
            max_limit=frontend.search.max_result_limit,
            default_spss=frontend.search.default_spans_per_span_set,
            max_spss=frontend.search.max_spans_per_span_set,
            max_range_s=round(frontend.search.max_duration_s),
            max_query_bytes=frontend.max_query_expression_size_bytes,
            target=settings.target,
            config=to_yaml(settings),
            credentials=_credentials(settings),
        )
        tls = _tls(settings)
        self._grpc = build_streaming(self._backend, api[LIMITS], api[ACCESS])
        grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        await self._grpc.start()
        self._runner = api_runner(api)
        await self._runner.setup()
        server = settings.server
        self._site = SharedSite(self._runner, server.http_listen_address, server.http_listen_port, grpc_port, tls)
        try:
            await _start(self._site, f"{server.http_listen_address}:{server.http_listen_port}", "PORT")
        except StrettoError:
            await self.on_stop()
            raise

    async def on_stop(self) -> None:
        """Queries that run are given up."""
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
            in_flight_bytes_max=gather.in_flight_bytes_max,
            wait_s=settings.kafka.write_timeout_s,
        )
        self._gatherer = Gatherer(writer, limits)
        self._grpc: Any = None
        self._http: web.AppRunner | None = None

    async def on_start(self) -> None:
        """Connects to Kafka, then listens. Raises: StrettoError naming the setting if a port is taken."""
        await self._writer.start()
        protocols, multitenancy = (
            self._settings.distributor.receivers.otlp.protocols,
            self._settings.multitenancy_enabled,
        )
        credentials = _credentials(self._settings)
        endpoint = protocols.grpc.endpoint
        self._grpc = build_grpc_server(
            self._gatherer,
            endpoint,
            multitenancy=multitenancy,
            message_bytes_max=protocols.grpc.max_recv_msg_size_mib * _MIB,
            credentials=credentials,
        )
        await self._grpc.start()
        app = build_http_receiver(
            self._gatherer,
            multitenancy=multitenancy,
            body_bytes_max=protocols.http.max_request_body_size,
            credentials=credentials,
        )
        self._http = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_GRACE_S)
        host, _, port = protocols.http.endpoint.rpartition(":")
        await self._http.setup()
        site = web.TCPSite(self._http, host.strip("[]"), int(port))
        await _start(site, protocols.http.endpoint, "distributor.receivers.otlp.protocols.http.endpoint")

    async def on_stop(self) -> None:
        """No new requests; those that are in are written and answered."""
        if self._grpc is not None:
            await self._grpc.stop(_STOP_GRACE_S)
        if self._http is not None:
            await self._http.cleanup()
        await self._gatherer.drain()
        await self._writer.stop(_STOP_GRACE_S)


async def _start(site: web.BaseSite, where: str, setting: str) -> None:
    try:
        await site.start()
    except OSError as err:
        raise StrettoError(f"cannot listen on {where} ({setting}): {err.strerror or err}") from err


def _credentials(settings: Settings) -> Credentials | None:
    file = settings.server.auth_file
    return load_credentials(Path(file) if file else None)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    config = settings.server.http_tls_config
    return tls_context(Path(config.cert_file), Path(config.key_file)) if config.cert_file else None
