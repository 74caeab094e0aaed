"""Sends a workload's file over OTLP/gRPC, as raw bytes, and prints the result as one line of JSON.

python -m benchmarks.load FILE [--to HOST:PORT] [--in-flight N] [--rate REQUESTS_PER_SECOND] [--tenants N]
    [--method /package.Service/Method]

It is a separate process, so that the sender's cost does not count.
"""

import argparse
import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from benchmarks.workload import Requests

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TIMEOUT_S: Final = 120.0
CONNECTION_REQUESTS: Final = 100
MESSAGE_BYTES_MAX: Final = 1 << 28
FIRST_ERRORS: Final = 3


@dataclass(frozen=True, slots=True)
class Loaded:
    """Result of the load. ack_ms: milliseconds from when a request was due until it was acknowledged"""

    requests: int
    bytes: int
    wall_s: float
    loader_cpu_s: float
    errors: int
    rejected_spans: int  # of requests that were acknowledged (OTLP's partial success)
    ack_ms: dict[str, float]  # p50, p90, p99, max; empty where nothing was acknowledged
    error_counts: dict[str, int] = field(default_factory=dict)  # status code → requests
    first_errors: list[str] = field(default_factory=list)


class Tally:
    """Counts the answers. gRPC's threads fill it; read it after the last answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ack_s: list[float] = []
        self.errors: Counter[str] = Counter()
        self.first_errors: list[str] = []
        self.rejected_spans = 0

    def note(self, call: Any, due_s: float) -> None:
        waited_s = time.perf_counter() - due_s
        error = call.exception()
        answer = b"" if error else call.result()
        with self.lock:
            if error is None:
                self.ack_s.append(waited_s)
                if answer:
                    success = ExportTraceServiceResponse.FromString(answer).partial_success
                    self.rejected_spans += success.rejected_spans
                return
            self.errors[call.code().name] += 1
            if len(self.first_errors) < FIRST_ERRORS:
                self.first_errors.append(f"{call.code().name}: {call.details()}")


def load(
    requests: Iterable[bytes],
    to: str,
    in_flight: int = 8,
    rate: float | None = None,
    tenants: int = 0,
    method: str = EXPORT,
) -> Loaded:
    """Send all requests, at most `in_flight` unanswered at a time, and wait for the answers.

    rate: requests a second; latencies then count from when a request was due, so that a server that falls
        behind cannot hide it (None: as fast as `in_flight` allows)
    tenants: the requests go to that many tenants in turn (0: without a tenant's name)
    method: the requests are its messages
    """
    headers = [[("x-scope-orgid", f"tenant-{number}")] for number in range(tenants)] or [[]]
    slots = threading.Semaphore(in_flight)
    tally = Tally()
    # A server takes about a hundred requests at once of a connection; the others would wait in the client.
    options = [("grpc.max_send_message_length", MESSAGE_BYTES_MAX), ("grpc.use_local_subchannel_pool", 1)]
    sent = sent_bytes = 0

    def answered(call: Any, due_s: float) -> None:
        try:
            tally.note(call, due_s)
        finally:
            slots.release()

    with ExitStack() as channels:
        exports = []
        for _ in range(-(-in_flight // CONNECTION_REQUESTS)):
            channel = channels.enter_context(grpc.insecure_channel(to, options=options))
            grpc.channel_ready_future(channel).result(timeout=TIMEOUT_S)
            exports.append(channel.unary_unary(method))
        cpu_s, began_s = used_cpu_s(), time.perf_counter()
        for number, request in enumerate(requests):
            due_s = time.perf_counter()
            if rate:
                due_s = began_s + number / rate
                time.sleep(max(0.0, due_s - time.perf_counter()))
            slots.acquire()
            if not rate:
                due_s = time.perf_counter()
            export = exports[number % len(exports)]
            call = export.future(request, timeout=TIMEOUT_S, metadata=headers[number % len(headers)])
            call.add_done_callback(lambda call, due_s=due_s: answered(call, due_s))
            sent, sent_bytes = sent + 1, sent_bytes + len(request)
        for _ in range(in_flight):
            slots.acquire()
        wall_s = time.perf_counter() - began_s
    return Loaded(
        requests=sent,
        bytes=sent_bytes,
        wall_s=round(wall_s, 3),
        loader_cpu_s=round(used_cpu_s() - cpu_s, 2),
        errors=tally.errors.total(),
        rejected_spans=tally.rejected_spans,
        ack_ms=percentiles_ms(tally.ack_s),
        error_counts=dict(tally.errors),
        first_errors=tally.first_errors,
    )


def percentiles_ms(times_s: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and max in milliseconds; empty for no times."""
    ordered = sorted(times_s)
    if not ordered:
        return {}
    last = len(ordered) - 1
    points = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: round(1e3 * ordered[round(point * last)], 1) for name, point in points.items()}


def used_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Sends a workload's file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--to", default="127.0.0.1:4317", metavar="HOST:PORT")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--rate", type=float, help="requests a second (default: as fast as it goes)")
    parser.add_argument("--tenants", type=int, default=0)
    parser.add_argument("--method", default=EXPORT, help="default: OTLP's")
    given = parser.parse_args(argv)
    if given.in_flight < 1 or given.tenants < 0 or (given.rate is not None and given.rate <= 0):
        parser.error("--in-flight and --rate must be above 0, --tenants at least 0")
    loaded = load(Requests(given.file), given.to, given.in_flight, given.rate, given.tenants, given.method)
    print(json.dumps(asdict(loaded)), flush=True)
    return 1 if loaded.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
