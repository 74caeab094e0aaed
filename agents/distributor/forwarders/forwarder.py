"""Sends copies of requests to other receivers of OTLP over gRPC. A copy never holds up the original.

Requests wait in a queue with a limit; beyond it they are dropped and counted. A thread sends them, so that a receiver
that stalls costs the event loop nothing.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
from prometheus_client import Counter, Gauge

from agents.distributor.forwarders.conditions import Condition
from agents.distributor.forwarders.span_filter import FAULTS, SpanFilter
from agents.distributor.requests import Request
from agents.limited_log import limited_logger

log = limited_logger(__name__)

QUEUE_BYTES: Final = Gauge("stretto_forwarder_queue_bytes", "Bytes of requests that wait to be sent.", ["forwarder"])
QUEUE_REQUESTS: Final = Gauge("stretto_forwarder_queue_requests", "Requests that wait to be sent.", ["forwarder"])
SENT: Final = Counter("stretto_forwarder_requests_sent_total", "Requests that the receiver has taken.", ["forwarder"])
FILTERED: Final = Counter(
    "stretto_forwarder_spans_filtered_total", "Spans that a condition has left out.", ["forwarder"]
)
DROPPED: Final = Counter(
    "stretto_forwarder_requests_dropped_total",
    "Requests whose copy is lost: queue (it was full), timeout (the receiver did not take it in time), refused (it "
    "never will), undecodable, stopped.",
    ["forwarder", "reason"],
)

_PATH: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TENANT_HEADER: Final = "x-scope-orgid"
_RETRIABLE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.OUT_OF_RANGE,
    }
)
_UNKNOWN: Final = grpc.StatusCode.UNKNOWN
_PAUSE_S_MIN: Final = 0.1
_PAUSE_S_MAX: Final = 5.0
_JOINED_BYTES_MAX: Final = 1 << 20  # requests of a tenant are sent together up to this size


class ForwarderError(Exception):
    """A forwarder cannot start: its certificates cannot be read."""


@dataclass(frozen=True, slots=True)
class ForwarderConfig:
    """endpoints: host:port, they take turns; ca_file: certificates of receivers, None: no TLS
    conditions: a span that one of them holds for is not sent; queue_bytes_max: of requests that wait
    timeout_s: of one attempt; retry_s: of all attempts
    """

    name: str
    endpoints: Sequence[str]
    ca_file: Path | None = None
    conditions: Sequence[Condition] = ()
    queue_bytes_max: int = 32 << 20
    timeout_s: float = 10.0
    retry_s: float = 60.0


class Forwarder:
    """One queue, and one thread that sends. `offer` may be called from any thread, and returns at once."""

    def __init__(self, config: ForwarderConfig) -> None:
        """Raises: ForwarderError"""
        self._config = config
        self._filter = SpanFilter(config.conditions)
        self._credentials = None if config.ca_file is None else _credentials(config.ca_file)
        self._queue: deque[Request] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name=f"forward-{config.name}"[:15], daemon=True)
        self._next_endpoint = 0
        self._channels: dict[str, grpc.Channel] = {}

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Sends what waits for so long; drops and counts the rest."""
        end_s = time.monotonic() + within_s
        with self._changed:
            while self._queue and time.monotonic() < end_s and self._thread.is_alive():
                self._changed.wait(0.05)
            self._stopping.set()
            self._count_dropped("stopped", len(self._queue))
            self._queue.clear()
            self._set_bytes(0)
            self._changed.notify_all()
        for channel in list(self._channels.values()):
            channel.close()
        if self._thread.is_alive():
            self._thread.join(max(0.0, end_s - time.monotonic()) + 1.0)

    def offer(self, request: Request) -> None:
        """Puts a request into the queue; drops it if that is full."""
        with self._changed:
            if self._stopping.is_set() or self._bytes + len(request.body) > self._config.queue_bytes_max:
                self._count_dropped("queue", 1)
                return
            self._queue.append(request)
            self._set_bytes(self._bytes + len(request.body))
            self._changed.notify_all()

    def _set_bytes(self, size_bytes: int) -> None:
        self._bytes = size_bytes
        QUEUE_BYTES.labels(self._config.name).set(size_bytes)
        QUEUE_REQUESTS.labels(self._config.name).set(len(self._queue))

    def _count_dropped(self, reason: str, requests: int) -> None:
        if requests:
            DROPPED.labels(self._config.name, reason).inc(requests)

    # ---- on the thread

    def _send_all(self) -> None:
        while not self._stopping.is_set():
            batch = self._take()
            if not batch:
                continue
            try:
                self._send(batch)
            except Exception:
                log.exception("forwarder %s: copies were lost", self._config.name)
                self._count_dropped("undecodable", len(batch))
            finally:
                with self._changed:
                    self._set_bytes(max(0, self._bytes - sum(len(request.body) for request in batch)))
                    self._changed.notify_all()

    def _take(self) -> list[Request]:
        """The next requests of one tenant: messages of protobuf may be joined. They count until they are sent."""
        with self._changed:
            while not self._queue and not self._stopping.is_set():
                self._changed.wait()
            batch: list[Request] = []
            size = 0
            while self._queue and (not batch or self._queue[0].tenant == batch[0].tenant):
                if batch and size + len(self._queue[0].body) > _JOINED_BYTES_MAX:
                    break
                batch.append(self._queue.popleft())
                size += len(batch[-1].body)
            return batch

    def _send(self, batch: list[Request]) -> None:
        bodies = []
        for request in batch:
            try:
                body, filtered = self._filter.filtered(request.body)
            except FAULTS as err:
                self._count_dropped("undecodable", 1)
                log.warning("forwarder %s: a request cannot be filtered: %s", self._config.name, err)
                continue
            if filtered:
                FILTERED.labels(self._config.name).inc(filtered)
            if body:
                bodies.append(body)
        if bodies:
            self._deliver(b"".join(bodies), batch[0].tenant, len(bodies))

    def _deliver(self, body: bytes, tenant: str, requests: int) -> None:
        end_s, pause_s = time.monotonic() + self._config.retry_s, _PAUSE_S_MIN
        while not self._stopping.is_set():
            try:
                self._call()(body, metadata=((_TENANT_HEADER, tenant),), timeout=self._config.timeout_s)
            except grpc.RpcError as err:
                code, text = (err.code(), err.details()) if isinstance(err, grpc.Call) else (_UNKNOWN, str(err))
                if code not in _RETRIABLE:
                    self._lost("refused", requests, f"{code.name}: {text}")
                    return
                if time.monotonic() >= end_s:
                    self._lost("timeout", requests, code.name)
                    return
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)
            except ValueError:  # the channel was closed: the process ends
                break
            else:
                SENT.labels(self._config.name).inc(requests)
                return
        self._count_dropped("stopped", requests)

    def _lost(self, reason: str, requests: int, why: str) -> None:
        self._count_dropped(reason, requests)
        log.warning("forwarder %s: %d requests are not forwarded (%s): %s", self._config.name, requests, reason, why)

    def _call(self) -> Any:
        """The method at the next endpoint."""
        endpoint = self._config.endpoints[self._next_endpoint % len(self._config.endpoints)]
        self._next_endpoint += 1
        channel = self._channels.get(endpoint)
        if channel is None:
            options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1))
            if self._credentials is None:
                channel = grpc.insecure_channel(endpoint, options)
            else:
                channel = grpc.secure_channel(endpoint, self._credentials, options)
            self._channels[endpoint] = channel
        return channel.unary_unary(_PATH)


def _credentials(ca_file: Path) -> grpc.ChannelCredentials:
    try:
        return grpc.ssl_channel_credentials(ca_file.read_bytes())
    except OSError as err:
        raise ForwarderError(f"{ca_file}: cannot be read: {err.strerror or err}") from err


class Forwarding(NamedTuple):
    """All forwarders of a process, by name."""

    forwarders: Mapping[str, Forwarder]

    def offer(self, names: Sequence[str], request: Request) -> None:
        """Gives a copy to those of the names that there are."""
        for name in names:
            forwarder = self.forwarders.get(name)
            if forwarder is not None:
                forwarder.offer(request)
