"""What receivers need of what writes their requests."""

from collections.abc import Callable
from typing import Protocol

from agents.distributor.requests import Outcome
from app.receivers.input_budget import InputBytes

Settled = Callable[[Outcome | BaseException], None]


class Writing(Protocol):
    """A request that is being written."""

    def gone(self) -> None:
        """Its client went away: nobody wants to know what becomes of it."""


class Batcher(Protocol):
    """Writes requests: `app.receivers.request_batcher.RequestBatcher`, or a door to it."""

    async def add(self, tenant: str, body: bytes, held: InputBytes | None = None) -> Outcome:
        """Writes a request; returns its outcome when Kafka has acknowledged it."""
        ...

    def submit(self, tenant: str, body: bytes, held: InputBytes | None, settled: Settled) -> Writing:
        """As `add`, without a task for each request, which costs as much as a span. settled: called once, later, with
        the outcome or with what `add` raises; not after `Writing.gone`. Raises: what `add` raises at once
        """
        ...
