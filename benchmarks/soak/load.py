"""A steady load from a thread, whatever happens to the server."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from benchmarks.load import EXPORT, percentiles_ms
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, Ledger
from tests.harness.cluster import BenchError

IN_FLIGHT: Final = 16
TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.5  # after a refusal, as a client that has been told to retry
LATE_S: Final = 0.5  # more than that behind is not caught up: the load is to be steady
GAP_S: Final = 0.5  # so long without an acknowledgement is an interruption
RECENT_NS: Final = 5_000_000_000  # a pass's first spans are so old when they are sent
OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True, slots=True)
class Gap:
    """An interruption of the acknowledgements; time.monotonic()."""

    start_s: float
    end_s: float


class Loader(threading.Thread):
    """Sends the template's passes until told to stop; a request that fails is never sent again with the same ids."""

    def __init__(self, ledger: Ledger, address: str, spans_per_s: float, connections: int = 1) -> None:
        """connections: the requests go over one after the other"""
        super().__init__(name="soak-load", daemon=True)
        self.ledger = ledger
        self.errors: Counter[str] = Counter()
        self.rejected_spans = 0
        self.gaps: list[Gap] = []
        self.broken: BaseException | None = None
        self._address, self._connections = address, connections
        template = ledger.template
        self._every_s = template.spans / template.requests / spans_per_s
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._lock = threading.Lock()
        self._finish = threading.Event()
        self._ack_s: list[float] = []  # of 20 requests a second: some 200 KB for 20 minutes
        self._last_ack_s = time.monotonic()
        self._last_acked_sent_s = 0.0  # when the newest of the acknowledged requests was sent
        self._paused_until_s = 0.0

    def run(self) -> None:
        try:
            with ExitStack() as stack:
                channels = [
                    stack.enter_context(grpc.insecure_channel(self._address, options=OPTIONS))
                    for _ in range(self._connections)
                ]
                self._send_all(cycle([channel.unary_unary(EXPORT) for channel in channels]))
                for _ in range(IN_FLIGHT):  # all answers are here
                    self._slots.acquire()
        except BaseException as error:
            self.broken = error
            raise

    def finish(self) -> None:
        """Stop sending; every request has its answer then. Raises BenchError where the thread had failed."""
        self._finish.set()
        self.join(TIMEOUT_S * 2)
        if self.broken or self.is_alive():
            raise BenchError(f"the loader failed: {self.broken or 'requests are not answered'}")

    def acknowledged_since(self, moment_s: float) -> bool:
        """Whether a request was acknowledged that was sent after `moment_s` (time.monotonic())."""
        with self._lock:
            return self._last_acked_sent_s > moment_s

    def interrupted_until_s(self, moment_s: float) -> float:
        """The end of the last interruption that was not over at `moment_s`; `moment_s` without any."""
        with self._lock:
            return max((gap.end_s for gap in self.gaps if gap.end_s > moment_s), default=moment_s)

    def ack_ms(self) -> dict[str, float]:
        with self._lock:
            return percentiles_ms(self._ack_s)

    def _send_all(self, exports: Iterator[Any]) -> None:
        template = self.ledger.template
        due_s = time.monotonic()
        while not self._finish.is_set():
            start_ns = time.time_ns() - RECENT_NS - template.first_ns
            number = self.ledger.begin(start_ns)
            for index in range(template.requests):
                request = template.request(number, index, start_ns)
                if not self._wait(due_s):
                    return
                now_s = time.monotonic()
                due_s = max(due_s, now_s - LATE_S) + self._every_s
                self.ledger.note(number, index, UNKNOWN)
                # wait_for_ready: while there is no connection nothing is sent, and nothing fails.
                call = next(exports).future(request, timeout=TIMEOUT_S, wait_for_ready=True)
                call.add_done_callback(lambda call, at=(number, index), sent_s=now_s: self._answered(call, at, sent_s))

    def _wait(self, due_s: float) -> bool:
        """Until the next request is due and may be sent; False to send none."""
        while not self._finish.is_set():
            with self._lock:
                wait_s = max(due_s, self._paused_until_s) - time.monotonic()
            if wait_s > 0:
                self._finish.wait(wait_s)
            elif self._slots.acquire(timeout=0.2):
                return True
        return False

    def _answered(self, call: Any, at: tuple[int, int], sent_s: float) -> None:
        try:
            error = call.exception()
            now_s = time.monotonic()
            if error is not None:
                with self._lock:
                    self.errors[f"{call.code().name}: {str(call.details())[:100]}"] += 1
                    self._paused_until_s = now_s + PAUSE_S
                return
            self.ledger.note(*at, ACKNOWLEDGED)
            answer = ExportTraceServiceResponse.FromString(call.result())
            with self._lock:
                self.rejected_spans += answer.partial_success.rejected_spans
                self._ack_s.append(now_s - sent_s)
                if now_s - self._last_ack_s > max(GAP_S, 5 * self._every_s):
                    self.gaps.append(Gap(self._last_ack_s, now_s))
                self._last_ack_s = now_s
                self._last_acked_sent_s = max(self._last_acked_sent_s, sent_s)
        finally:
            self._slots.release()
