"""Jaeger's agent protocol: calls of Thrift in datagrams, compact (6831) or binary (6832).

A thread of its own reads the socket, so that the kernel's buffer does not run over while the event loop is busy, or
another thread translates what has come. UDP has no answers: what cannot be taken is counted, the kernel's own drops
included, and others' requests go before it.
"""

import asyncio
import logging
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from prometheus_client import Counter, Gauge

from agents.distributor.limits import LimitExceeded
from agents.distributor.record_producer import KafkaUnavailable
from agents.limited_log import limited_logger
from app.receivers.batcher import Batcher
from app.receivers.input_budget import InputBudget, Overloaded
from app.settings.values import split_host_port
from tables.errors import WireError
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)
bad_log = limited_logger(__name__ + ".bad")

DATAGRAMS: Final = Counter("stretto_receiver_datagrams_total", "Datagrams received over UDP.", ["receiver"])
DROPPED: Final = Counter(
    "stretto_receiver_datagrams_dropped_total",
    "Datagrams whose spans are lost: kernel (its buffer was full), size (larger than max_packet_size), queue (more "
    "came than was decoded), malformed, overloaded (distributor.input), limit (of the tenant), kafka.",
    ["receiver", "reason"],
)
BUFFER_BYTES: Final = Gauge(
    "stretto_receiver_socket_buffer_bytes", "The socket's buffer that the system granted.", ["receiver"]
)

# From asm-generic/socket.h; Python does not name it. The kernel then says with each datagram how many it dropped.
_SO_RXQ_OVFL: Final = 40
_COUNT: Final = struct.Struct("I")
_CONTROL_BYTES: Final = 64
# So long, or so many bytes, spans are collected before they are handed on: a batch has a cost of its own, and nobody
# waits for an answer.
_COLLECT_S: Final = 0.1
_COLLECT_BYTES: Final = 768 << 10
# Between two looks at what has come: waking up for each datagram costs more than translating a span. Meanwhile the
# socket holds what comes.
_READ_EVERY_S: Final = 0.002
_TRANSLATE_EVERY_S: Final = 0.02
_TRANSLATED_AT_ONCE_BYTES: Final = 256 << 10
_WAKE_S: Final = 0.2
_READS_AT_ONCE: Final = 1000


class UdpReceiver:
    """One port. `start` and `stop` belong to the event loop."""

    def __init__(  # noqa: PLR0913  (collaborators, and options by their names)
        self,
        name: str,
        endpoint: str,
        tenant: str,
        to_otlp: Callable[[bytes], bytes],
        batcher: Batcher,
        budget: InputBudget,
        *,
        packet_bytes_max: int,
        socket_bytes: int,
        queue_bytes_max: int,
    ) -> None:
        """name: in metrics; to_otlp: a datagram → ExportTraceServiceRequest; tenant: of all spans"""
        self._address = split_host_port(endpoint)
        self._name, self._tenant, self._to_otlp = name, tenant, to_otlp
        self._batcher, self._budget = batcher, budget
        self._packet_bytes_max, self._socket_bytes, self._queue_bytes_max = (
            packet_bytes_max,
            socket_bytes,
            queue_bytes_max,
        )
        self.reuse_port = False
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self._datagrams = DATAGRAMS.labels(name)
        # Read and not decoded. Each counter has one thread that changes it.
        self._undecoded: deque[bytes] = deque()
        self._read_bytes = self._decoded_bytes = 0
        self._came = threading.Event()
        # Translated and not handed on; the first of them is to be handed on at this time.
        self._translated: list[bytes] = []
        self._translated_bytes, self._hand_on_s = 0, 0.0
        self._stopping = threading.Event()
        self._waiting_bytes = 0  # handed to the event loop, not acknowledged by Kafka yet
        self._requests: set[asyncio.Task[None]] = set()
        self._kernel_drops = 0

    async def start(self) -> None:
        """Listens. Raises: OSError if the address cannot be used"""
        loop = asyncio.get_running_loop()
        ((family, _, _, _, address), *_) = await loop.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._socket_bytes)
            self._count_kernel_drops(opened)
            if self.reuse_port:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind(address)
            opened.setblocking(False)
        except OSError:
            opened.close()
            raise
        granted = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        BUFFER_BYTES.labels(self._name).set(granted)
        if granted < self._socket_bytes:
            log.warning(
                "%s: the system grants a socket buffer of %d bytes, not %d; bursts may be lost (net.core.rmem_max)",
                self._name,
                granted,
                self._socket_bytes,
            )
        self._socket, self._loop = opened, loop
        for work, what in ((self._read_until_stopped, "read"), (self._translate_until_stopped, "translate")):
            self._threads.append(threading.Thread(target=work, name=f"{self._name}-{what}", daemon=True))
            self._threads[-1].start()

    def _count_kernel_drops(self, opened: socket.socket) -> None:
        try:
            opened.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        except OSError:
            log.warning("%s: this system does not say how many datagrams it drops", self._name)

    async def stop(self, grace_s: float) -> None:
        """Reads what the socket holds no longer; what is decoded is written."""
        self._stopping.set()
        for thread in self._threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)
        if self._socket is not None:
            self._socket.close()
        if self._requests:
            await asyncio.wait(self._requests, timeout=grace_s)

    # ---- on the thread that reads

    def _read_until_stopped(self) -> None:
        opened = self._socket
        assert opened is not None
        while not self._stopping.is_set():
            ready, _, _ = select.select([opened], [], [], _WAKE_S)
            if ready:
                time.sleep(_READ_EVERY_S)
                try:
                    self._read(opened)
                except Exception:
                    log.exception("%s: datagrams were lost", self._name)

    def _read(self, opened: socket.socket) -> None:
        """Takes what the socket holds. It decodes nothing, so that the socket's buffer does not run over meanwhile."""
        for _ in range(_READS_AT_ONCE):
            try:
                # One byte more shows that a datagram is too large.
                data, control, _, _ = opened.recvmsg(self._packet_bytes_max + 1, _CONTROL_BYTES)
            except BlockingIOError:
                return
            self._see_drops(control)
            self._datagrams.inc()
            if len(data) > self._packet_bytes_max:
                self._drop("size")
            elif self._queued_bytes() + len(data) > self._queue_bytes_max:
                self._drop("queue")
            else:
                self._undecoded.append(data)
                self._read_bytes += len(data)
                self._came.set()

    def _queued_bytes(self) -> int:
        return self._read_bytes - self._decoded_bytes + self._waiting_bytes

    def _see_drops(self, control: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == _SO_RXQ_OVFL and len(data) >= _COUNT.size:
                (total,) = _COUNT.unpack_from(data)
                if more := (total - self._kernel_drops) & 0xFFFFFFFF:
                    self._drop("kernel", more)
                self._kernel_drops = total

    # ---- on the thread that translates

    def _translate_until_stopped(self) -> None:
        while not self._stopping.is_set():
            # Also without a datagram: what waits is to be handed on.
            if self._came.wait(_TRANSLATE_EVERY_S if self._translated else _WAKE_S):
                self._stopping.wait(_TRANSLATE_EVERY_S)
            self._translate(hand_on_all=False)
        self._threads[0].join()  # it may be at its last datagrams
        self._translate(hand_on_all=True)

    def _translate(self, *, hand_on_all: bool) -> None:
        """Translates what has come, and hands on what is enough or has waited long enough."""
        self._came.clear()
        more = True
        while more:
            try:
                self._translate_some()
                more = bool(self._undecoded)
                late = self._translated and time.monotonic() >= self._hand_on_s
                if late or self._translated_bytes >= _COLLECT_BYTES or (hand_on_all and not more):
                    self._hand_on()
            except Exception:
                log.exception("%s: datagrams were lost", self._name)

    def _translate_some(self) -> None:
        """So much that what is handed on meanwhile does not become large."""
        if self._undecoded and not self._translated:
            self._hand_on_s = time.monotonic() + _COLLECT_S
        size = 0
        while self._undecoded and size < _TRANSLATED_AT_ONCE_BYTES:
            data = self._undecoded.popleft()
            size += len(data)
            try:
                body = walled(self._to_otlp, data)
                self._translated.append(body)
                self._translated_bytes += len(body)
            except (WireError, NativePanic) as err:
                self._drop("malformed")
                bad_log.warning("%s: a datagram of %d bytes cannot be read: %s", self._name, len(data), err)
            finally:
                self._decoded_bytes += len(data)

    def _hand_on(self) -> None:
        bodies, self._translated, self._translated_bytes = self._translated, [], 0
        if bodies and self._loop is not None:
            # Requests of protobuf may be joined: their lists follow each other.
            self._loop.call_soon_threadsafe(self._begin, b"".join(bodies), len(bodies))

    def _drop(self, reason: str, count: int = 1) -> None:
        DROPPED.labels(self._name, reason).inc(count)

    # ---- on the event loop

    def _begin(self, body: bytes, datagrams: int) -> None:
        self._waiting_bytes += len(body)
        task = asyncio.ensure_future(self._write(body, datagrams))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    async def _write(self, body: bytes, datagrams: int) -> None:
        try:
            held = self._budget.open(self._tenant)
            try:
                held.add("waiting", len(body))
            except BaseException:
                held.release()
                raise
            outcome = await self._batcher.add(self._tenant, body, held)
            if outcome.malformed is not None:
                self._drop("malformed", datagrams)
                bad_log.warning("%s: datagrams cannot be read: %s", self._name, outcome.malformed)
        except Overloaded:
            self._drop("overloaded", datagrams)
        except LimitExceeded as err:
            self._drop("limit", datagrams)
            bad_log.warning("%s: datagrams are dropped: %s", self._name, err)
        except KafkaUnavailable:
            self._drop("kafka", datagrams)
        finally:
            self._waiting_bytes -= len(body)
