"""Clients that ask fuzzed queries, in a process of their own that gives way to all else on the machine: the clients
that send spans shall wait for the server, not for these.
"""

import heapq
import http.client
import multiprocessing
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Self
from urllib.parse import unquote_plus, urlsplit

import grpc

from benchmarks.hostile.asked import Asked, asked
from benchmarks.hostile.wide import Wide

TIMEOUT_S: Final = 120.0
TOLD_EVERY: Final = 100
_NICENESS: Final = 10
_SLOWEST: Final = 5  # so many are told
_GOES_AWAY: Final = 0.02  # of the clients, before the answer has ended
_BROKEN: Final = frozenset({500, "UNKNOWN", "INTERNAL", "UNAVAILABLE"})
_SERVICE: Final = "/tempopb.StreamingQuerier/"


@dataclass
class Seen:
    """Results of the queries. took_s: durations by kind, all together; counts: by kind

    all: duration, kind, status and text of each
    """

    statuses: Counter[str] = field(default_factory=Counter)
    took_s: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    all: list[tuple[float, str, str, str]] = field(default_factory=list)

    @property
    def slowest(self) -> list[tuple[float, str]]:
        """Duration and text of those that took longest."""
        return [(took_s, f"{status} {text}") for took_s, _, status, text in heapq.nlargest(_SLOWEST, self.all)]

    @property
    def count(self) -> int:
        """Number of queries that were sent."""
        return sum(self.statuses.values())

    def note(self, one: Asked, status: int | str, took_s: float) -> None:
        """status: of HTTP, the code of gRPC, or what went wrong"""
        kind = f"{one.kind}, streamed" if one.streamed else one.kind
        self.statuses[f"{kind}: {status}"] += 1
        self.took_s[kind] = self.took_s.get(kind, 0.0) + took_s
        self.counts[kind] += 1
        self.all.append((took_s, kind, str(status), unquote_plus(one.target)))
        if status in _BROKEN or (isinstance(status, str) and not status.isupper()):
            self.broken.append(f"{status} {one.kind} {one.target[:2000]}")
            print(f"BROKEN: {self.broken[-1]}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked. seed: of the queries; count: of them, without the first `skipped` ones; minutes: then no more"""

    seed: int
    count: int
    clients: int
    skipped: int = 0
    minutes: float = float("inf")


def ask_all(url: str, wide: Wide, asking: Asking) -> Seen:
    """Asks them, from another process, and waits."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_in_process, args=(theirs, url, wide, asking))
    process.start()
    theirs.close()
    try:
        seen: Seen = mine.recv()
        return seen
    finally:
        process.join()


def _in_process(pipe: Any, *args: Any) -> None:
    os.nice(_NICENESS)
    pipe.send(_ask_all(*args))
    pipe.close()


def _ask_all(url: str, wide: Wide, asking: Asking) -> Seen:
    requests = list(asked(wide, asking.seed, asking.count))[asking.skipped :]
    seen, lock, began_s = Seen(), threading.Lock(), time.monotonic()

    def note(one: Asked, status: int | str, took_s: float) -> None:
        with lock:
            seen.note(one, status, took_s)
            if seen.count % TOLD_EVERY == 0:
                print(f"{seen.count} queries in {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)

    def client(number: int) -> None:
        with _Client(url) as asks:
            for one in requests[number :: asking.clients]:
                sent_s = time.monotonic()
                if sent_s - began_s > 60 * asking.minutes:
                    return
                note(one, asks.ask(one), time.monotonic() - sent_s)

    with ThreadPoolExecutor(asking.clients, "client") as pool:
        for done in [pool.submit(client, number) for number in range(asking.clients)]:
            done.result()
    return seen


class _Client:
    """One connection for HTTP and one for gRPC, to the same port."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url).netloc
        self._http = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
        # Of its own, not shared with other clients' in the process.
        self._grpc = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._rng = Random(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._grpc.close()

    def ask(self, one: Asked) -> int | str:
        """Sends one query and returns its status."""
        goes_away = self._rng.random() < _GOES_AWAY
        if one.streamed:
            return self._stream(one.streamed, one.headers, goes_away=goes_away)
        return self._get(one, goes_away=goes_away)

    def _get(self, one: Asked, *, goes_away: bool) -> int | str:
        try:
            self._http.request("GET", one.target, headers=one.headers)
            answer = self._http.getresponse()
            if goes_away:
                self._http.close()
            else:
                answer.read()
            return answer.status
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            return repr(error)

    def _stream(self, asked: tuple[str, bytes], headers: dict[str, str], *, goes_away: bool) -> str:
        method, message = asked
        metadata: Sequence[tuple[str, str]] = (("x-scope-orgid", headers["X-Scope-OrgID"]),)
        call = self._grpc.unary_stream(_SERVICE + method)(message, timeout=TIMEOUT_S, metadata=metadata)
        try:
            for _ in call:
                if goes_away:
                    call.cancel()
                    break
            return "OK"
        except grpc.RpcError as error:
            return str(error.code().name)
