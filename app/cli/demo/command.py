"""`stretto demo`: sends a steady trickle of traces over OTLP/gRPC, until it is stopped."""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from app.cli.demo.shop import Shop
from app.cli.demo.trace import Placed, export_request
from app.net.tenant import HEADER

EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
TICK_S: Final = 0.2  # traces that end within it share a request, as with an SDK's batches
RATE_MAX: Final = 1_000.0  # traces a second; the benchmark is there for more
SEND_TIMEOUT_S: Final = 5.0
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 5.0
COMPLAIN_EVERY_S: Final = 30.0

# Temporary errors: the server is away, or overloaded. Everything else would fail again.
PASSING: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
    }
)

# Without these, gRPC checks less and less often, up to two minutes apart, whether the server is back.
CHANNEL: Final = (("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 2_000))

INTRODUCTION: Final = """\
demo: about {rate:g} traces a second of a small bookshop go to {to}. Queries to try:
demo:   {{ resource.service.name = "payments" && status = error }}
demo:   {{ span.http.route = "/checkout" && duration > 500ms }}"""

# They may be in the environment of a server, too: see app/settings/environment.py.
TOKEN: Final = "STRETTO_TOKEN"  # noqa: S105 (its name)
TENANT: Final = "STRETTO_TENANT"

Send = Callable[[bytes], object]  # raises grpc.RpcError
Metadata = tuple[tuple[str, str], ...]


def main(argv: list[str]) -> int:
    """Sends until SIGINT or SIGTERM. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="stretto demo", description="Sends realistic traces at a trickle.")
    parser.add_argument(
        "--to",
        type=receiver,
        default="127.0.0.1:4317",
        metavar="HOST:PORT",
        help="an OTLP/gRPC receiver; with https:// in front: over TLS",
    )
    parser.add_argument("--ca-file", type=Path, help="PEM file with the receiver's CA (default: gRPC's own list)")
    parser.add_argument(
        "--token", default=os.environ.get(TOKEN, ""), help=f"if the receiver requires one; better in ${TOKEN}"
    )
    parser.add_argument("--tenant", default=os.environ.get(TENANT, ""), help=f"tenant of the spans; or ${TENANT}")
    parser.add_argument("--rate", type=traces_per_second, default=5.0, help="traces per second (default 5)")
    parser.add_argument("--seed", type=int, help="repeats the same visits (default: different ones each time)")
    options = parser.parse_args(argv)
    try:
        ca = options.ca_file.read_bytes() if options.ca_file else None
    except OSError as err:
        parser.error(f"--ca-file {options.ca_file}: {err.strerror}")

    stop = threading.Event()

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    say(INTRODUCTION.format(rate=options.rate, to=options.to))
    about = metadata(options.token, options.tenant)
    with channel_to(options.to, ca) as channel:
        export = channel.unary_unary(EXPORT)

        def send(request: bytes) -> object:
            """Sends in a thread and returns a future, so that a signal is handled at once."""
            call = export.future(request, timeout=SEND_TIMEOUT_S, metadata=about)
            done = threading.Event()
            call.add_done_callback(lambda _: done.set())
            while not done.wait(TICK_S):
                if stop.is_set():
                    call.cancel()
                    return None
            return call.result()

        sent = trickle(Shop(Random(options.seed)), options.rate, send, stop)  # noqa: S311 (no secrets here)
    say(f"demo: stopped after {sent} traces")
    return 0


def receiver(text: str) -> str:
    """An argparse type: host:port, with or without a scheme."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"{text}: give host:port, http://host:port or https://host:port")
    return text.rstrip("/")


def channel_to(where: str, ca: bytes | None) -> Any:
    """A gRPC channel. where: see `receiver`; ca: PEM; None: gRPC's own list of CAs"""
    scheme, _, target = where.rpartition("://")
    if scheme == "https":
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(ca), options=CHANNEL)
    return grpc.insecure_channel(target, options=CHANNEL)


def metadata(token: str, tenant: str) -> Metadata:
    """The metadata of each request; "" for none"""
    pairs = (("authorization", f"Bearer {token}" if token else ""), (HEADER.lower(), tenant))
    return tuple((name, value) for name, value in pairs if value)


def traces_per_second(text: str) -> float:
    """An argparse type: traces per second."""
    value = float(text)
    if not 0 < value <= RATE_MAX:
        raise argparse.ArgumentTypeError(f"{text}: give more than 0 and at most {RATE_MAX:g} traces a second")
    return value


def trickle(shop: Shop, rate: float, send: Send, stop: threading.Event) -> int:
    """Generates and sends traces until `stop`: visitors arrive at random, `rate` per second. Returns the number of
    traces.
    """
    sent = 0
    due_s = time.monotonic()
    while not stop.wait(TICK_S):
        now_s = time.monotonic()
        batch: list[Placed] = []
        traces = 0
        while due_s <= now_s:
            batch += ending_now(shop, time.time_ns())
            traces += 1
            due_s += shop.rng.expovariate(rate)
        if not batch:
            continue
        if deliver(export_request(batch).SerializeToString(), send, stop):
            sent += traces
        # Nobody visits a shop that is closed: the traces of an outage are not made up for.
        due_s = max(due_s, time.monotonic() - TICK_S)
    return sent


def ending_now(shop: Shop, now_ns: int) -> list[Placed]:
    """A trace whose last span ends at `now_ns`, so that no span is in the future."""
    placed = shop.trace(0)
    shift_ns = now_ns - max(span.end_time_unix_nano for _, span in placed)
    for _, span in placed:
        span.start_time_unix_nano += shift_ns
        span.end_time_unix_nano += shift_ns
        for event in span.events:
            event.time_unix_nano += shift_ns
    return placed


def deliver(request: bytes, send: Send, stop: threading.Event) -> bool:
    """Sends a request, and retries temporary errors. False: rejected for good, or stopped."""
    wait_s = RETRY_FIRST_S
    complained_s: float | None = None
    while not stop.is_set():
        try:
            send(request)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
            if code not in PASSING:
                say(f"demo: refused, {code.name}: {details}")
                return False
            now_s = time.monotonic()
            if complained_s is None or now_s - complained_s >= COMPLAIN_EVERY_S:
                say(f"demo: {code.name}: {details}; trying again")
                complained_s = now_s
            stop.wait(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)
        else:
            if complained_s is not None:
                say("demo: the server takes traces again")
            return not stop.is_set()
    return False


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (the terminal is what this command talks to)
