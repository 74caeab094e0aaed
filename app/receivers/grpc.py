"""Receivers over gRPC: one unary method whose message is spans, taken as raw bytes."""

import asyncio
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import grpc

from agents.distributor.span_writer import MALFORMED, Outcome
from agents.limited_log import limited_logger
from app.net.access import Access, Identity
from app.net.http2 import Http2Connection
from app.net.http2_headers import CheckedHeaders
from app.net.http2_types import Headers, Http2Limits, RequestHeaders
from app.net.http_guard import GRPC_CONNECTIONS, LIMITED
from app.net.request_metrics import CLIENT_GONE, GRPC, observe_request, tempo_route
from app.receivers.batcher import Batcher, Writing
from app.receivers.codecs import ENCODINGS
from app.receivers.decompress import BodyCosts, BodyTooLarge, TooCostly, decompressed
from app.receivers.grpc_errors import REFUSALS, grpc_error
from app.receivers.grpc_wire import ACCEPTED, PREFIX, GrpcError, http_status, message, trailers
from app.receivers.http_body import BODY_LIMITED
from app.receivers.input_budget import InputBudget, InputBytes, Overloaded
from app.receivers.translation import Translation
from app.settings.values import split_host_port
from tables.errors import WireError

log = limited_logger(__name__)

_BACKLOG: Final = 1024
_HANDSHAKE_S: Final = 10.0
_LOOKS_PER_LIMIT: Final = 10  # a limit of time is kept to a tenth
_OWN_PIECE_BYTES: Final = 512
# Copying more takes milliseconds, most of them for fresh memory: on a thread.
_JOIN_HERE_BYTES_MAX: Final = 4 << 20
_Code: Final = grpc.StatusCode


@dataclass(frozen=True, slots=True)
class GrpcMethod:
    """The method that a receiver answers.

    path: /package.Service/Method; name: of the receiver, in metrics and in the log; setting: its section
    translation: what makes an ExportTraceServiceRequest of a message; None: it is one
    reply: the answer's message
    """

    path: str
    name: str
    setting: str
    translation: Translation | None = None
    reply: Callable[[Outcome], bytes] = lambda _: b""


class GrpcReceiver:
    """A gRPC server for one method; others are UNIMPLEMENTED. Belongs to its event loop."""

    def __init__(  # noqa: PLR0913 (three collaborators, and options by their names)
        self,
        batcher: Batcher,
        endpoint: str,
        access: Access,
        method: GrpcMethod,
        *,
        message_bytes_max: int,
        tls: ssl.SSLContext | None = None,
        budget: InputBudget | None = None,
        limits: Http2Limits | None = None,
        costs: BodyCosts | None = None,
        threads: int = 2,
    ) -> None:
        """access: who may send; tls: None: plaintext; budget: None: an own one of four messages"""
        self.batcher, self.access, self._tls = batcher, access, tls
        self.method = method
        self.message_bytes_max = message_bytes_max
        self.budget = budget or InputBudget(4 * message_bytes_max)
        self.limits, self.costs = limits or Http2Limits(), costs or BodyCosts()
        self.checked_headers = CheckedHeaders()
        self.threads = ThreadPoolExecutor(threads, "message")
        # What translates holds the GIL: more threads would not be faster.
        self.translation = ThreadPoolExecutor(1, "translate")
        self.route = tempo_route(method.path)
        self._host, self._port = split_host_port(endpoint)
        self.reuse_port = False
        self._server: asyncio.Server | None = None
        self._connections: set[Http2Connection] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self.waiting: set[_Call] = set()  # for the batcher, without a task
        self._last_is_done = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Starts to listen. Raises: OSError if the endpoint cannot be bound"""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Http2Connection(self),
            self._host,
            self._port,
            ssl=self._tls,
            backlog=_BACKLOG,
            reuse_port=self.reuse_port,
            ssl_handshake_timeout=_HANDSHAKE_S if self._tls else None,
        )
        self._look_later()

    async def stop(self, grace_s: float | None) -> None:
        """Accepts no new connections; running calls have grace_s to finish."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.go_away()
        if grace_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._all_answered()
        for connection in list(self._connections):
            connection.close()
        for threads in (self.threads, self.translation):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _all_answered(self) -> None:
        while self.waiting:
            self._last_is_done.clear()
            await self._last_is_done.wait()
        if self._calls:
            await asyncio.wait(self._calls)

    def done(self, call: "_Call") -> None:
        """The batcher has an outcome for the call, or nobody wants to know it."""
        self.waiting.discard(call)
        if not self.waiting:
            self._last_is_done.set()

    def opened(self, connection: Http2Connection) -> bool:
        if len(self._connections) >= self.limits.connections_max:
            self.limited("connections")
            return False
        self._connections.add(connection)
        GRPC_CONNECTIONS.labels(self.method.name).inc()
        return True

    def closed(self, connection: Http2Connection) -> None:
        self._connections.discard(connection)
        GRPC_CONNECTIONS.labels(self.method.name).dec()

    def limited(self, limit: str) -> None:
        LIMITED.labels(self.method.name, limit).inc()

    def exchange(self, connection: Http2Connection, stream: int, headers: RequestHeaders) -> "_Call | None":
        """See http2.Site. The client is authenticated before anything of the body is kept."""
        try:
            if headers.facts is None:
                headers.facts = self._encoding(headers), Identity.of(headers)
            encoding, identity = headers.facts
            tenant = self.access.tenant(*identity)
        except REFUSALS as err:
            error = grpc_error(err)
            connection.answer(stream, b"", trailers(error))
            observe_request(GRPC, self.route, http_status(error.code), 0.0)
            return None
        return _Call(self, connection, stream, self.budget.open(tenant), tenant, encoding)

    def _encoding(self, headers: Headers) -> str:
        """The compression of the call's message; "" for none. Raises: GrpcError if it is no call of our method"""
        if not _has(headers, ":method", "POST") or not _has(headers, "content-type", "application/grpc"):
            raise GrpcError(_Code.UNIMPLEMENTED, "only gRPC is spoken here: POST with application/grpc")
        if not _has(headers, ":path", self.method.path):
            raise GrpcError(_Code.UNIMPLEMENTED, f"only {self.method.path} is answered here")
        encoding = next((value for name, value in headers if name == "grpc-encoding"), "").lower()
        if encoding not in ("", "identity", *ENCODINGS):
            text = f"grpc-encoding {encoding[:40]!r} is not known; send one of {ACCEPTED}"
            raise GrpcError(_Code.UNIMPLEMENTED, text)
        return encoding

    def run(self, call: "_Call") -> "asyncio.Task[None]":
        """Answers a call whose message has arrived."""
        task = asyncio.ensure_future(call.run())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return task

    def _look_later(self) -> None:
        limits = self.limits
        every_s = min(limits.head_s, limits.request_s, limits.idle_s, limits.write_s) / _LOOKS_PER_LIMIT
        self._timer = asyncio.get_running_loop().call_later(every_s, self._look)

    def _look(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for connection in list(self._connections):
            connection.look(now_s)
        self._look_later()


class _Call:
    """One Export call: its message as it arrives, and its answer."""

    def __init__(
        self,
        server: GrpcReceiver,
        connection: Http2Connection,
        stream: int,
        held: InputBytes,
        tenant: str,
        encoding: str,
    ) -> None:
        self._server, self._connection, self._stream = server, connection, stream
        self._held, self._tenant, self._encoding = held, tenant, encoding
        self._pieces: list[bytes | bytearray] = []
        self._size = 0
        self._length: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._writing: Writing | None = None
        self._answered = self._handed_on = False
        self._begun_s = time.perf_counter()

    def data(self, piece: memoryview) -> None:
        """See http2.Exchange. Counts the piece in the budget, then keeps it."""
        if self._answered:
            return
        try:
            self._held.add("reading", len(piece))
            self._keep(piece)
            if self._length is None and self._size >= PREFIX.size:
                self._begin()
            if self._length is not None and self._size > PREFIX.size + self._length:
                raise GrpcError(_Code.INVALID_ARGUMENT, "the call has one message; there is something behind it")
        except (GrpcError, Overloaded) as err:
            self._refuse(err)

    def _keep(self, piece: memoryview) -> None:
        """Joins small pieces to one array, so that a client that sends single bytes does not create an object for
        each.
        """
        self._size += len(piece)
        if len(piece) >= _OWN_PIECE_BYTES:
            self._pieces.append(bytes(piece))
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def end(self) -> None:
        """See http2.Exchange. An ordinary message goes to the batcher at once, without a task of its own."""
        if self._answered:
            return
        if self._length is None or self._size != PREFIX.size + self._length:
            self._refuse(GrpcError(_Code.INVALID_ARGUMENT, "the message's end is missing"))
            return
        server = self._server
        ordinary = not self._pieces[0][0] and server.method.translation is None and self._size <= _JOIN_HERE_BYTES_MAX
        if ordinary:
            self._submit()
            return
        self._task = server.run(self)
        # The client may disconnect before the task begins; then the task does not run.
        self._task.add_done_callback(self._drop_unless_handed_on)

    def _submit(self) -> None:
        first, *rest = self._pieces
        body = b"".join((memoryview(first)[PREFIX.size :], *rest))
        self._pieces.clear()
        server = self._server
        try:
            self._held.become("waiting", len(body))
            self._writing = server.batcher.submit(self._tenant, body, self._held, self._settled)
        except BaseException as err:  # noqa: BLE001  (a panic of native code is no Exception)
            self._refuse(err)
        else:
            server.waiting.add(self)

    def _settled(self, result: Outcome | BaseException) -> None:
        self._server.done(self)
        if isinstance(result, BaseException):
            self._refuse(result)
        elif result.malformed is not None:
            self._refuse(GrpcError(_Code.INVALID_ARGUMENT, result.malformed))
        else:
            self._accept(result)

    def _accept(self, outcome: Outcome) -> None:
        self._answered = True
        self._connection.answer(self._stream, message(self._server.method.reply(outcome)), trailers())
        self._observe(200)

    def late(self) -> None:
        BODY_LIMITED.labels("time").inc()
        server = self._server
        text = f"the message took longer than {server.limits.request_s:g} s ({server.method.setting}.read_timeout_s)"
        self._refuse(GrpcError(_Code.DEADLINE_EXCEEDED, text))

    def gone(self) -> None:
        if not self._answered:
            self._observe(CLIENT_GONE)
        self._answered = True
        if self._writing is not None:
            self._writing.gone()
            self._server.done(self)
        elif self._task is not None:
            self._task.cancel()
        else:
            self._drop()

    async def run(self) -> None:
        """Answers the call, whatever error happens."""
        try:
            body = await self._message()
            self._handed_on = True
            outcome = await self._server.batcher.add(self._tenant, body, self._held)
            if outcome.malformed is not None:
                raise GrpcError(_Code.INVALID_ARGUMENT, outcome.malformed)
        except asyncio.CancelledError:
            raise
        except BaseException as err:  # noqa: BLE001  (a panic of native code is no Exception)
            self._refuse(err)
        else:
            self._accept(outcome)

    async def _message(self) -> bytes:
        """The decompressed message."""
        server, held = self._server, self._held
        # The first piece is whole as far as the prefix goes, see _begin.
        first, *rest = self._pieces
        compressed, pieces = first[0], [memoryview(first)[PREFIX.size :], *rest]
        del first, rest
        self._pieces.clear()
        if self._size > _JOIN_HERE_BYTES_MAX:
            body = await asyncio.get_running_loop().run_in_executor(server.threads, b"".join, pieces)
        else:
            body = b"".join(pieces)
        pieces.clear()
        if compressed and body:
            if self._encoding in ("", "identity"):
                raise GrpcError(_Code.INTERNAL, "the message is compressed, and grpc-encoding does not say how")
            costs, threads = server.costs, server.threads
            body = await decompressed(body, self._encoding, server.message_bytes_max, costs, held, threads)
        if server.method.translation is not None:
            body = await server.method.translation.run(body, held, server.translation)
        held.become("waiting", len(body))
        return body

    def _begin(self) -> None:
        """Checks the message's length once it is known. Raises: GrpcError, Overloaded if it is too large in general, or
        now
        """
        if len(self._pieces[0]) < PREFIX.size:
            self._pieces = [b"".join(self._pieces)]
        _, self._length = PREFIX.unpack_from(self._pieces[0])
        if self._length > self._server.message_bytes_max:
            BODY_LIMITED.labels("bytes").inc()
            raise self._too_large()
        self._held.expect(max(0, PREFIX.size + self._length - self._size))

    def _too_large(self) -> GrpcError:
        most, setting = self._server.message_bytes_max, self._server.method.setting
        text = f"the message is larger than {most} bytes after decompression ({setting}.max_recv_msg_size_mib)"
        return GrpcError(_Code.RESOURCE_EXHAUSTED, text, final=True)

    def _refuse(self, err: BaseException) -> None:
        if self._task is None:
            self._drop()
        self._answered = True
        if isinstance(err, BodyTooLarge):
            BODY_LIMITED.labels("bytes").inc()
            err = self._too_large()
        elif isinstance(err, TooCostly):
            BODY_LIMITED.labels(err.limit).inc()
        elif isinstance(err, WireError):
            MALFORMED.inc()
        error = grpc_error(err)
        self._connection.answer(self._stream, b"", trailers(error))
        self._observe(http_status(error.code))

    def _observe(self, status: int) -> None:
        observe_request(GRPC, self._server.route, status, time.perf_counter() - self._begun_s)

    def _drop_unless_handed_on(self, _: object) -> None:
        if not self._handed_on:
            self._drop()

    def _drop(self) -> None:
        self._pieces.clear()
        self._held.release()


def _has(headers: Headers, name: str, beginning: str) -> bool:
    return any(found == name and value.startswith(beginning) for found, value in headers)
