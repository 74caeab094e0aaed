"""Which decoded spans a tenant may not send: too old, too far ahead, of a trace that is too large. Whole columns."""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agents.distributor.limits import LimitsOfTenants, TenantLimits
from agents.distributor.trace_sizes import Charge, TraceSizes
from tables.columns.arrays import fixed_bytes, numbers
from tables.columns.types import Int64s, UInt64s
from tables.wire.span_attributes import SpanAttributes
from tables.wire.span_bytes import span_bytes

TRACE_TOO_LARGE: Final = "trace_too_large"
PAST: Final = "outside_past_slack"
FUTURE: Final = "outside_future_slack"

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_NS_PER_S: Final = 1_000_000_000


class Discard(NamedTuple):
    """Spans of one tenant that one limit does not allow. rows: their numbers in the batch; text: for the client"""

    reason: str
    rows: Int64s
    text: str


class Ruled(NamedTuple):
    """discards: none where all spans may stay; charges: what the traces of the others have grown by"""

    discards: list[Discard]
    charges: list[Charge]


class SpanRules:
    """The limits of rows. Thread-safe; one per process."""

    def __init__(self, limits: LimitsOfTenants, sizes: TraceSizes, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """clock_ns: unix nanoseconds"""
        self.limits, self.sizes, self._clock_ns = limits, sizes, clock_ns

    def limited(self, tenants: Sequence[str]) -> list[tuple[int, TenantLimits]]:
        """The numbers of those tenants whose spans may be discarded, with their limits."""
        found = ((number, self.limits.of(tenant)) for number, tenant in enumerate(tenants))
        return [(number, limits) for number, limits in found if limits.of_rows]

    def rule(
        self,
        spans: pa.RecordBatch,
        tenants: Sequence[str],
        tenant_of: npt.NDArray[np.int32] | None,
        limited: Sequence[tuple[int, TenantLimits]],
        received_ns: Int64s | None,
    ) -> Ruled:
        """Looks at all spans of a batch.

        tenant_of: the number of each row's tenant, shape (rows,); None: all are the first one's
        limited: see there; received_ns: when each row was received, unix ns, shape (rows,), 0 or None: now
        """
        out = Ruled([], [])
        now_ns = self._clock_ns()
        for number, limits in limited:
            rows = np.arange(len(spans)) if tenant_of is None else np.flatnonzero(tenant_of == number)
            rows = self._in_time(spans, rows, tenants[number], limits, _received(received_ns, rows, now_ns), out)
            if limits.trace_bytes_max and len(rows):
                self._fits(spans, rows, tenants[number], limits.trace_bytes_max, now_ns / _NS_PER_S, out)
        return out

    def keep(self, charges: Sequence[Charge]) -> None:
        """The spans go on: their traces have grown."""
        for charge in charges:
            self.sizes.add(charge, self._clock_ns() / _NS_PER_S)

    def take_back(self, charges: Sequence[Charge]) -> None:
        """Kafka never got the spans: the client sends them again."""
        self.keep([Charge(charge.traces, -charge.sizes) for charge in charges])

    def _in_time(
        self, spans: pa.RecordBatch, rows: Int64s, tenant: str, limits: TenantLimits, received_ns: Int64s, out: Ruled
    ) -> Int64s:
        """The rows that are not too old, nor too far ahead."""
        start_ns = numbers(spans.column("start_ns"))[rows]
        for slack_ns, reason, setting in (
            (limits.past_slack_ns, PAST, "past_slack"),
            (limits.future_slack_ns, FUTURE, "future_slack"),
        ):
            if not slack_ns or not len(rows):
                continue
            if reason == PAST:
                ended_ns = start_ns + np.maximum(numbers(spans.column("duration_ns"))[rows], 0)
                bad, what = ended_ns < received_ns - slack_ns, "ended longer ago than"
            else:
                bad, what = start_ns > received_ns + slack_ns, "start later than in"
            if not bad.any():
                continue
            text = f"{what} {slack_ns / _NS_PER_S:g} s, the limit of tenant {tenant} (overrides: ingestion.{setting})"
            out.discards.append(Discard(reason, rows[bad], text))
            rows, start_ns, received_ns = rows[~bad], start_ns[~bad], received_ns[~bad]
        return rows

    def _fits(self, spans: pa.RecordBatch, rows: Int64s, tenant: str, bytes_max: int, now_s: float, out: Ruled) -> None:
        """Discards the spans of a trace that come after it has reached its limit."""
        sizes = span_bytes(spans, SpanAttributes(spans.column("attributes")))[rows]
        traces, trace_of = np.unique(_hashes(spans, rows, tenant), return_inverse=True)
        before = self.sizes.sizes(traces, now_s)
        grown = np.bincount(trace_of, sizes, len(traces)).astype(np.int64)
        if not (before + grown > bytes_max).any():
            out.charges.append(Charge(traces, grown))
            return
        # The rows of a trace in their order, each with the bytes of its trace up to it.
        order = np.argsort(trace_of, kind="stable")
        running = np.cumsum(sizes[order])
        starts = np.searchsorted(trace_of[order], np.arange(len(traces)))
        running += (before - np.concatenate(([0], running))[starts])[trace_of[order]]
        bad = np.zeros(len(rows), np.bool_)
        bad[order] = running > bytes_max
        text = f"take their trace beyond {bytes_max} bytes, the limit of tenant {tenant} "
        text += "(overrides: global.max_bytes_per_trace)"
        out.discards.append(Discard(TRACE_TOO_LARGE, rows[bad], text))
        out.charges.append(Charge(traces, np.bincount(trace_of, np.where(bad, 0, sizes), len(traces)).astype(np.int64)))


def _received(received_ns: Int64s | None, rows: Int64s, now_ns: int) -> Int64s:
    if received_ns is None:
        return np.full(len(rows), now_ns)
    own = received_ns[rows]
    return np.where(own > 0, own, now_ns)


def _hashes(spans: pa.RecordBatch, rows: Int64s, tenant: str) -> UInt64s:
    """A number for each row's trace, never 0. Two tenants may have the same trace id."""
    halves = np.ascontiguousarray(fixed_bytes(spans.column("trace_id"))).view(np.uint64)[rows]
    mixed = (halves[:, 0] ^ np.uint64(hash(tenant) & (2**64 - 1))) * _MIX
    mixed ^= mixed >> np.uint64(32)
    mixed = (mixed ^ halves[:, 1]) * _MIX
    mixed ^= mixed >> np.uint64(29)
    hashes: UInt64s = np.maximum(mixed, np.uint64(1))
    return hashes
