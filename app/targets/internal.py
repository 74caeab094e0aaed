"""How this process and the others of the cluster call each other: secrets, connections, and the server on port 9095."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import faust

from agents.live_store.partition_manager import PartitionManager
from app.net.advertise import advertised_host, with_port
from app.net.file_watch import FileWatch
from app.querying.live.live_stores import LiveStores
from app.querying.live.live_view import live_view
from app.rpc.client import InternalClient
from app.rpc.security import InternalSecurity
from app.rpc.server import AskedAgain, Handler, InternalServer
from app.settings import Settings

log = logging.getLogger(__name__)

_TOKENS: Final = "internal secrets"


class Internal:
    """One for a process. methods: what other processes may ask of this one; targets add to them before the start"""

    def __init__(self, settings: Settings, member_id: str) -> None:
        """Raises: SettingsError where the settings would let everybody in, or a file cannot be used"""
        self.settings, self.member_id = settings, member_id
        self.security = InternalSecurity(settings.server)
        self.methods: dict[str, Handler | AskedAgain] = {}
        self.address = ""  # under which others reach this process, once it listens
        self._client: InternalClient | None = None

    @property
    def client(self) -> InternalClient:
        """Calls to other processes. On the event loop."""
        if self._client is None:
            self._client = InternalClient(self.security, self.settings.server.internal_message_bytes_max)
        return self._client

    @property
    def port(self) -> int:
        """Where to listen. A process that runs everything may stand beside others that have nothing to do with it: it
        takes any free port where the settings do not say which; members of its cluster learn it.
        """
        server = self.settings.server
        free = self.settings.target == "all" and "grpc_listen_port" not in server.model_fields_set
        return 0 if free else server.grpc_listen_port


class InternalListener(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """The server of a process, while it runs. After `on_start` others can ask it."""

    def __init__(self, internal: Internal, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._internal = internal
        self._watch = FileWatch(internal.settings.server.file_poll_s)
        self._server: InternalServer | None = None

    async def on_start(self) -> None:
        """Listens. Raises: StrettoError if the address cannot be used"""
        internal, settings = self._internal, self._internal.settings
        security = internal.security
        if paths := security.paths():
            self._watch.add(_TOKENS, paths, security.load, security.use)
            self._watch.start()
        if not internal.methods:
            return
        self._server = InternalServer(settings.server, security, internal.methods, port=internal.port)
        await self._server.start()
        members = settings.members
        host, _, port = self._server.address.rpartition(":")
        host = advertised_host(
            host, members.advertise_address, members.instance_interface_names, settings.kafka.address[0]
        )
        internal.address = with_port(host.strip("[]"), int(port))
        log.info("other processes reach this one at %s", internal.address)

    async def on_stop(self) -> None:
        """No new calls, and none to others."""
        await self._watch.stop()
        self._internal.address = ""
        if self._server is not None:
            await self._server.stop()
        await self._internal.client.close()


def live_stores(internal: Internal, members: Any, manager: PartitionManager | None) -> LiveStores:
    """All live stores. manager: of that of this process; None: it has none"""
    take_view: Callable[[str, Mapping[int, int]], Any] | None = None
    if manager is not None:
        here = manager

        def take_view(tenant: str, asked: Mapping[int, int]) -> Any:
            return live_view(here, tenant, asked)

    return LiveStores(members, lambda: internal.client, take_view, internal.member_id)
