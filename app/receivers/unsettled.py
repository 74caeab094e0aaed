"""Requests that were refused, or whose client disconnected, while Kafka may still write them.

A refused client sends the same bytes again. Writing them again would store every span twice. So a request that equals
an unsettled one (same tenant, same bytes) waits for that one instead. Requests are only hashed while something is
unsettled, that is after Kafka was away.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable
from typing import NamedTuple

from prometheus_client import Counter

from agents.distributor.span_writer import Outcome, Request

REPEATED = Counter(
    "stretto_requests_repeated_total",
    "Retried requests whose first attempt had been written after all; they are not written again.",
)

_ENTRIES_MAX = 20_000
_KEEP_S = 900.0  # longer than clients go on trying


class Unsettled(NamedTuple):
    """outcome: done when Kafka has the spans, or an exception when it never will."""

    outcome: "asyncio.Future[Outcome]"
    since_s: float


class UnsettledRequests:
    """The latest unsettled requests, by hash of their content."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, Unsettled] = OrderedDict()

    def add(self, request: Request, outcome: Awaitable[Outcome]) -> None:
        """Remembers a request until its client has retried it, or has given up."""
        future = asyncio.ensure_future(outcome)
        future.add_done_callback(_seen)
        self._entries[_key(request)] = Unsettled(future, asyncio.get_running_loop().time())
        while len(self._entries) > _ENTRIES_MAX:
            self._entries.popitem(last=False)

    def take(self, request: Request) -> "asyncio.Future[Outcome] | None":
        """The unsettled twin of a request; None if it has none."""
        if not self._entries:  # nearly always
            return None
        self._forget_old()
        found = self._entries.get(_key(request))
        if found is None:
            return None
        REPEATED.inc()
        return found.outcome

    def done(self, request: Request) -> None:
        """Forgets a request: its client has the acknowledgement, or it was never written. An equal one is then a new
        request.
        """
        self._entries.pop(_key(request), None)

    def _forget_old(self) -> None:
        now_s = asyncio.get_running_loop().time()
        while self._entries and now_s - next(iter(self._entries.values())).since_s > _KEEP_S:
            self._entries.popitem(last=False)


def _key(request: Request) -> bytes:
    digest = hashlib.blake2b(request.body, digest_size=16, person=b"stretto")
    digest.update(request.tenant.encode())
    return digest.digest()


def _seen(future: "asyncio.Future[Outcome]") -> None:
    """Marks an outcome as handled: it is no error if nobody waits for it."""
    if not future.cancelled():
        future.exception()
