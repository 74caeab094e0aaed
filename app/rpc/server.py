"""The internal gRPC server of a process: methods with frames in both directions."""

import asyncio
import time
from collections import Counter as Counting
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
from prometheus_client import Counter, Gauge, Histogram

from agents.limited_log import limited_logger
from app.errors import StrettoError
from app.rpc.conversation import KEEPALIVE_OPTIONS, Conversation, PeerGone, ServedConversation
from app.rpc.errors import to_frame
from app.rpc.frames import MESSAGE_BYTES_MAX
from app.rpc.security import InternalSecurity
from app.settings.sections.server import Server
from query import memory

log = limited_logger(__name__)

Handler = Callable[[Conversation], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """A handler that answers one question of a conversation. When it has, the caller may ask the next one in the same
    call, which costs a third of a new call. Each question counts as a call.
    """

    answer: Handler


SERVICE: Final = "stretto.internal"
CALLS: Final = Histogram(
    "stretto_internal_call_duration_seconds",
    "Time of calls from other processes, by method and result: ok, error, gone (the caller went away), refused.",
    ["method", "result"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)
RUNNING: Final = Gauge("stretto_internal_calls_running", "Calls from other processes that are worked on.", ["method"])
REFUSED: Final = Counter(
    "stretto_internal_calls_refused_total",
    "Calls from other processes that were refused, by reason: token, connections.",
    ["reason"],
)
CONNECTIONS: Final = Gauge("stretto_internal_connections", "Connections from other processes with a call under way.")
_STOP_S: Final = 1.0


class InternalServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types here
    """Answers the methods that it was given; all others are UNIMPLEMENTED. Belongs to its event loop."""

    def __init__(
        self,
        server: Server,
        security: InternalSecurity,
        methods: Mapping[str, Handler | AskedAgain],
        *,
        port: int | None = None,
    ) -> None:
        """methods: by name, as `path_of` takes it. port: 0: any free one; None: that of the settings"""
        self._settings, self._security = server, security
        self._port = server.grpc_listen_port if port is None else port
        self._handlers = {path_of(name): self._handler(name, handle) for name, handle in methods.items()}
        self._calls_of: Counting[str] = Counting()  # by connection
        self._idle: set[asyncio.Task[None]] = set()  # of calls in which nothing is asked just now
        self._server: Any = None
        self._stopping = False
        self.address = ""  # where it listens

    def service(self, details: Any) -> Any:
        """The handler of a method; None: there is no such method."""
        return self._handlers.get(details.method)

    async def start(self) -> None:
        """Listens. Raises: StrettoError if the address cannot be used"""
        settings = self._settings
        self._server = grpc.aio.server(
            options=[
                *KEEPALIVE_OPTIONS,
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                # Two processes on one port would each get half of the calls, unnoticed.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=settings.internal_calls_max,
        )
        self._server.add_generic_rpc_handlers((self,))
        where = f"{settings.grpc_listen_address}:{self._port}"
        credentials = self._security.server_credentials()
        try:
            if credentials is None:
                port = self._server.add_insecure_port(where)
            else:
                port = self._server.add_secure_port(where, credentials)
        except RuntimeError as err:
            raise StrettoError(
                f"cannot listen on {where} (server.grpc_listen_address, server.grpc_listen_port): {err}"
            ) from err
        await self._server.start()
        self.address = f"{settings.grpc_listen_address}:{port}"

    async def stop(self) -> None:
        """No new calls; those that run have a second to end, and those that wait for a question end."""
        self._stopping = True
        for task in list(self._idle):
            task.cancel()
        if self._server is not None:
            await self._server.stop(_STOP_S)

    def _handler(self, name: str, handle: Handler | AskedAgain) -> Any:
        async def serve(_: Any, context: Any) -> None:
            start_s = time.perf_counter()
            try:
                await self._admit(context)
            except _RefusedCall:
                CALLS.labels(name, "refused").observe(time.perf_counter() - start_s)
                raise
            with self._counted(context.peer()):
                conversation = ServedConversation(context, self._settings.internal_message_bytes_max)
                if isinstance(handle, AskedAgain):
                    while await self._is_asked(conversation) and await self._serve(name, handle.answer, conversation):
                        pass
                else:
                    await self._serve(name, handle, conversation)

        return grpc.stream_stream_rpc_method_handler(serve)

    async def _is_asked(self, conversation: ServedConversation) -> bool:
        """Waits for a question. Out: no, where the caller ends the call, or this process stops"""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._idle.add(task)
        try:
            return not self._stopping and await conversation.is_asked()
        except asyncio.CancelledError:
            if self._stopping:
                return False
            raise
        finally:
            self._idle.discard(task)

    async def _admit(self, context: Any) -> None:
        if not self._security.lets_in(context.invocation_metadata()):
            REFUSED.labels("token").inc()
            await _refuse(context, grpc.StatusCode.UNAUTHENTICATED, "this process needs the cluster's token")
        if context.peer() not in self._calls_of and len(self._calls_of) >= self._settings.internal_connections_max:
            REFUSED.labels("connections").inc()
            text = "too many processes call this one (server.internal_connections_max)"
            await _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    @contextmanager
    def _counted(self, peer: str) -> Iterator[None]:
        self._calls_of[peer] += 1
        CONNECTIONS.set(len(self._calls_of))
        try:
            yield
        finally:
            self._calls_of[peer] -= 1
            if not self._calls_of[peer]:
                del self._calls_of[peer]
            CONNECTIONS.set(len(self._calls_of))

    async def _serve(self, name: str, handle: Handler, conversation: ServedConversation) -> bool:
        """Answers what is asked. Out: whether all is well"""
        start_s, result = time.perf_counter(), "gone"
        try:
            with RUNNING.labels(name).track_inprogress(), memory.request():
                await handle(conversation)
            result = "ok"
        except PeerGone:
            pass
        except Exception as err:  # noqa: BLE001 (the one place where errors become frames)
            result = "error"
            await conversation.send(to_frame(err, f"a call of {name}"))
        finally:
            CALLS.labels(name, result).observe(time.perf_counter() - start_s)
        return result == "ok"


class _RefusedCall(Exception):  # noqa: N818 (says what it is)
    """The call was refused, and gRPC has said so."""


async def _refuse(context: Any, code: grpc.StatusCode, text: str) -> None:
    log.warning("a call from %s is refused: %s", context.peer(), text)
    try:
        await context.abort(code, text)
    except asyncio.CancelledError:
        raise
    except Exception as err:
        raise _RefusedCall(text) from err


def path_of(name: str) -> str:
    """The path of an internal method in gRPC."""
    return f"/{SERVICE}/{name}"
