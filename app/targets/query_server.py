"""The servers of the query API: HTTP and gRPC on one port, and an internal one."""

import os
from collections.abc import Callable
from typing import Any, Final

import faust
from aiohttp import web

from app.api.backend import Backend
from app.api.limits import ApiLimits, CurrentLimits
from app.api.mcp.server import McpServer
from app.api.server import api_runner, build_api, url_bytes_max
from app.api.status.process import Configs, Process, no_overrides
from app.api.status.reload import ReloadAnswer
from app.api.status.rings import Rings
from app.api.status.status import own_version
from app.api.tempo.streaming import build_streaming
from app.api.tenants import TenantApi
from app.errors import StrettoError
from app.net.access import Access, load_credentials
from app.net.file_watch import FileWatch
from app.net.http_guard import GuardedSite, HttpLimits
from app.net.listening import auth_file, start_listening, watch_tokens, watched_context
from app.net.shared_port import SharedSite
from app.net.tls import HTTP_1_AND_GRPC, TlsFiles
from app.process.reload import SettingsReload
from app.settings import Settings, to_yaml
from app.settings.show import changed_yaml
from app.targets.page_config import page_config

_TLS_SETTING: Final = "server.http_tls_config"


class QueryServer(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Tempo's API, HTTP and gRPC on one port. It answers /ready and /metrics from the start."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        rings: Rings | None = None,
        runtime: Callable[[], str] = no_overrides,
        tenants: Callable[[CurrentLimits], TenantApi] = lambda _: TenantApi(),
        reload: SettingsReload | None = None,
        **kwargs: Any,
    ) -> None:
        """runtime: makes the text of /status/runtime_config, see `status.Configs`; tenants: makes of the limits of all
        what the API knows of single tenants; reload: what POST /-/reload does; None: it is not there
        """
        super().__init__(**kwargs)
        self._runtime, self._tenants = runtime, tenants
        self._settings, self._backend, self._rings, self._reload = settings, backend, rings, reload
        self.stopping: Callable[[], bool] = lambda: False  # whether the process was told to stop
        self._watch = FileWatch(settings.server.file_poll_s)
        self._runner: web.AppRunner | None = None
        self._site: SharedSite | None = None
        self._grpc: Any = None

    async def on_start(self) -> None:
        """Listens. Raises: StrettoError naming the setting if the port is taken or a file cannot be used."""
        settings, server = self._settings, self._settings.server
        frontend = settings.query_frontend
        access = Access(
            multitenancy=settings.multitenancy_enabled,
            credentials=load_credentials(auth_file(settings)),
            several_max=frontend.multi_tenant_queries_max if frontend.multi_tenant_queries_enabled else 1,
        )
        configs = Configs(to_yaml(settings), to_yaml(Settings()), changed_yaml(settings), self._runtime)
        api_limits = _api_limits(settings)
        limits_now = CurrentLimits(api_limits)
        tenants = self._tenants(limits_now)
        self._follow(configs, limits_now)
        api = build_api(
            self._backend,
            limits_now,
            access,
            process=Process(
                settings.target, configs, server.worker_addresses, page_config(settings, os.environ), self.stopping
            ),
            rings=self._rings,
            profiling=server.pprof_enabled,
            tenants=tenants,
            mcp=McpServer(frontend.mcp_server.max_answer_bytes, own_version()) if frontend.mcp_server.enabled else None,
            reload_now=self._reload_now if self._reload is not None else None,
        )
        watch_tokens(self._watch, settings, access)
        tls = watched_context(self._watch, TlsFiles.of(server.http_tls_config, _TLS_SETTING), HTTP_1_AND_GRPC)
        limits_of = tenants.limits_of or (lambda _: limits_now.now)
        self._grpc = build_streaming(self._backend, api_limits, access, limits_of)
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
            await start_listening(self._site, f"{host}:{port}", "PORT", reuse_port=server.reuse_port)
            await self._listen_alone(limits)
        except StrettoError:
            await self.on_stop()
            raise
        self._watch.start()

    def _follow(self, configs: Configs, limits: CurrentLimits) -> None:
        """Uses what a reload changes."""
        if self._reload is None:
            return

        def use(settings: Settings) -> None:
            configs.effective, configs.changed = to_yaml(settings), changed_yaml(settings)
            limits.replace(_api_limits(settings))

        self._reload.use(use)

    async def _reload_now(self) -> ReloadAnswer:
        assert self._reload is not None, "the endpoint is there only with it"
        result = await self._reload.reload()
        return ReloadAnswer(not result.error, str(result))

    async def _listen_alone(self, limits: HttpLimits) -> None:
        """Also on an address of this process alone, where other processes share the first."""
        where = self._settings.server.own_address
        if not where or self._runner is None:
            return
        host, _, port = where.rpartition(":")
        site = GuardedSite(self._runner, host.strip("[]"), int(port), name="own", limits=limits)
        await start_listening(site, where, "server.own_address")

    async def on_stop(self) -> None:
        """Queries that run are given up."""
        await self._watch.stop()
        if self._grpc is not None:
            await self._grpc.stop(None)
        if self._runner is not None:
            await self._runner.cleanup()
        self._backend.close()


def _api_limits(settings: Settings) -> ApiLimits:
    max_send_bytes = settings.server.grpc_server_max_send_msg_size
    return ApiLimits.of(settings.query_frontend, max_send_bytes, settings.query.timeout_s)
