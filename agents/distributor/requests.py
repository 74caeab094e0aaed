"""Requests with spans, what became of each, and the records of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agents.distributor.record_producer import Record
from agents.distributor.trace_sizes import Charge
from agents.distributor.usage import UsageCount


class Request(NamedTuple):
    """One OTLP request of a tenant. received_ns: when it was received, unix ns; 0: now"""

    tenant: str
    body: bytes
    received_ns: int = 0


class Discarded(NamedTuple):
    """Spans of a request that a limit does not allow. reason: the label in metrics; text: for the client, after their
    number
    """

    reason: str
    spans: int
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one request.

    malformed: why the whole request was refused; all counts are then 0
    reason: the reason of the refusal as a metric label (see `WireError`)
    """

    received: int = 0
    rejected: int = 0  # for an invalid trace id or span id
    too_large: int = 0  # for not fitting into a Kafka message, or holding too much to be decoded
    malformed: str | None = None
    reason: str = ""
    discarded: tuple[Discarded, ...] = ()  # for limits of the tenant

    @property
    def left_out(self) -> int:
        """Spans that are not stored."""
        return self.rejected + self.too_large + sum(one.spans for one in self.discarded)


class Encoded(NamedTuple):
    """The records of some requests. spans: number of spans in the records
    charges: what traces have grown by; usage: what is attributed once Kafka has the records
    """

    outcomes: list[Outcome]
    records: list[Record]
    spans: int
    charges: Sequence[Charge] = ()
    usage: Sequence[UsageCount] = ()


def joined(outcomes: list[Outcome], parts: Sequence[Encoded]) -> Encoded:
    """Several as one. outcomes: of all their requests"""
    return Encoded(
        outcomes,
        [record for part in parts for record in part.records],
        sum(part.spans for part in parts),
        [charge for part in parts for charge in part.charges],
        [count for part in parts for count in part.usage],
    )


def summed(outcomes: Sequence[Outcome], too_large: int) -> Outcome:
    """The outcome of a request that was encoded in pieces. too_large: spans that the pieces did not have any more"""
    discarded: dict[tuple[str, str], int] = {}
    for one in (one for outcome in outcomes for one in outcome.discarded):
        discarded[one.reason, one.text] = discarded.get((one.reason, one.text), 0) + one.spans
    return Outcome(
        sum(outcome.received for outcome in outcomes) + too_large,
        sum(outcome.rejected for outcome in outcomes),
        sum(outcome.too_large for outcome in outcomes) + too_large,
        discarded=tuple(Discarded(reason, spans, text) for (reason, text), spans in discarded.items()),
    )
