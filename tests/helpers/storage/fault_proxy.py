"""An HTTP proxy on loopback in front of a storage, which does to requests what networks and storages do at times."""

import http.client
import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

HELD_S_MAX = 60.0
_NOT_RELAYED = {"connection", "transfer-encoding", "content-length", "keep-alive", "server", "date"}


@dataclass(frozen=True, slots=True)
class Status:
    """An answer with an error instead of the storage's."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset after half of the answer's body. The storage has done what was asked."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is closed without an answer. The storage has done what was asked."""


@dataclass(frozen=True, slots=True)
class Torn:
    """The connection is reset before the whole request is read: the storage never sees it."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The answer's body comes in pieces, with a pause before each."""

    pieces: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class Silence:
    """The request is taken, and nothing happens: the storage never sees it."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The answer comes later."""

    seconds: float


Fault = Status | Reset | Lost | Torn | Slow | Silence | Delay


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that the proxy has received. query: with the path, as it was sent"""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Plan:
    fault: Fault
    times: int
    concerns: Callable[[Seen], bool]


@dataclass(slots=True)
class FaultProxy:
    """upstream: host:port. Use it in a `with`."""

    upstream: str
    hidden_headers: frozenset[str] = frozenset()  # in lower case: headers that the storage does not get to see
    in_flight: int = 0
    in_flight_max: int = 0
    seen: list[Seen] = field(default_factory=list)
    closed_early: int = 0  # requests whose client went away before the proxy was done with them
    _plans: list[_Plan] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _server: Any = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def fail(self, fault: Fault, times: int = 1 << 30, concerns: Callable[[Seen], bool] = lambda _: True) -> None:
        """So many of the next requests that it concerns have the fault; before those that were planned later."""
        with self._lock:
            self._plans.append(_Plan(fault, times, concerns))

    def heal(self) -> None:
        """No more faults, and what is held is let go."""
        with self._lock:
            self._plans.clear()
        self._ended.set()
        self._ended = threading.Event()

    def count(self, method: str) -> int:
        """How many requests of the method there were."""
        return sum(one.method == method for one in self.seen)

    def __enter__(self) -> Self:
        handler = type("_BoundHandler", (_Handler,), {"proxy": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def fault_for(self, seen: Seen) -> Fault | None:
        with self._lock:
            self.seen.append(seen)
            for plan in self._plans:
                if plan.times > 0 and plan.concerns(seen):
                    plan.times -= 1
                    return plan.fault
        return None

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Inside, a request is in flight."""
        with self._lock:
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    def hold(self, seconds: float) -> None:
        """Waits until the proxy is healed or ends, at most so long."""
        self._ended.wait(seconds)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ClassVar[FaultProxy]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the class above names it
        """Says nothing: pytest shows what matters."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.proxy.closed_early += 1

    def _forward(self) -> None:
        with self.proxy.tracking():
            self._forward_tracked()

    def _forward_tracked(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        fault = self.proxy.fault_for(Seen(self.command, self.path, dict(self.headers.items())))
        if isinstance(fault, Torn):
            self._reset()
            return
        body = self.rfile.read(length)
        match fault:
            case Silence():
                self.proxy.hold(HELD_S_MAX)
                self._close()
                return
            case Status(status, code):
                text = f"<Error><Code>{code}</Code></Error>"
                self._answer(status, {"Content-Type": "application/xml"}, text.encode())
                return
            case Delay(seconds):
                self.proxy.hold(seconds)
        status, headers, answer = self._ask(body)
        match fault:
            case Lost():
                self._close()
            case Reset():
                self._answer(status, headers, answer, sent_bytes=len(answer) // 2)
                self._reset()
            case Slow(pieces, pause_s):
                self._answer(status, headers, answer, sent_bytes=0)
                step = max(1, -(-len(answer) // pieces))
                for first in range(0, len(answer), step):
                    self.proxy.hold(pause_s)
                    self.wfile.write(answer[first : first + step])
                    self.wfile.flush()
            case _:
                self._answer(status, headers, answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _forward  # noqa: N815  # as http.server wants them

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=HELD_S_MAX)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "content-length", *self.proxy.hidden_headers}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes, sent_bytes: int | None = None) -> None:
        """sent_bytes: of the body; None: all of it"""
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _NOT_RELAYED:
                self.send_header(name, value)
        length = headers.get("Content-Length", headers.get("content-length", "0")) if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent_bytes])
        self.wfile.flush()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def _close(self) -> None:
        self.close_connection = True
        self.connection.close()
