"""What is done with decoded spans before they are encoded: limits of tenants, cost attribution, the log of spans.

Nothing of it costs anything where it is not switched on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from agents.distributor.limits import LimitsOfTenants
from agents.distributor.requests import Discarded
from agents.distributor.span_log import SpanLogConfig, log_discarded, log_received
from agents.distributor.span_rules import Discard, SpanRules
from agents.distributor.trace_sizes import Charge
from agents.distributor.usage import UsageCount, UsageTracker, dimensions_of, usage_of
from tables.columns.types import Bools, Floats, Int64s
from tables.wire.otlp.decoder import Decoded
from tables.wire.span_attributes import SpanAttributes
from tables.wire.span_bytes import span_bytes

INVALID_ID = "invalid_id"


@dataclass(frozen=True, slots=True)
class Inspection:
    """keep: the rows that go on; None: all; discarded: by the number of the request
    charges: see `SpanRules.keep`; usage: what the rows that go on cost
    """

    keep: Bools | None = None
    discarded: dict[int, tuple[Discarded, ...]] = field(default_factory=dict)
    charges: Sequence[Charge] = ()
    usage: Sequence[UsageCount] = ()


class RequestFacts(NamedTuple):
    """Of the requests of a batch. tenants: each once; tenant_of: the number of each row's tenant, shape (rows,), None:
    all are of the first one; sizes: bytes of each request; received_ns: see `SpanRules.rule`, of each request
    """

    tenants: Sequence[str]
    tenant_of: npt.NDArray[np.int32] | None
    sizes: Sequence[int]
    received_ns: Sequence[int]


class SpanInspector:
    """One per process. Thread-safe."""

    def __init__(
        self,
        limits: LimitsOfTenants,
        rules: SpanRules,
        usage: UsageTracker | None = None,
        received_log: SpanLogConfig | None = None,
        discarded_log: SpanLogConfig | None = None,
    ) -> None:
        """usage: None: costs are not attributed; received_log, discarded_log: None: not logged"""
        self.limits, self.rules, self.usage = limits, rules, usage
        self._received = received_log if received_log is not None and received_log.enabled else None
        self._discarded = discarded_log if discarded_log is not None and discarded_log.enabled else None

    def attribute_limits(self, tenants: Sequence[str]) -> list[int]:
        """The limit of attributes of each tenant, in bytes; 0: as for all. Empty: nobody has an own one."""
        if self.limits.none():
            return []
        found = [self.limits.of(tenant).attribute_bytes_max for tenant in tenants]
        return found if any(found) else []

    def idle(self) -> bool:
        """Whether `inspect` has nothing to do, whatever comes."""
        return self.limits.none() and self._received is None and self._discarded is None

    def needs_columns(self, tenant: str) -> bool:
        """Whether `inspect` looks at each span of a tenant. Spans that are refused come to it in any case."""
        if self._received is not None:
            return True
        if self.limits.none():
            return False
        limits = self.limits.of(tenant)
        counted = self.usage is not None and bool(limits.dimensions)
        return counted or bool(limits.attribute_bytes_max) or bool(self.rules.limited([tenant]))

    def inspect(self, decoded: Decoded, requests: RequestFacts) -> Inspection:
        """Looks at the spans of a batch. Counts nothing: see `SpanRules.keep` and `UsageTracker.add`."""
        spans = decoded.spans
        if self._received is not None:
            log_received(spans, self._received)
        if self._discarded is not None and decoded.refused is not None:
            log_discarded(decoded.refused, self._discarded, ",".join(requests.tenants), INVALID_ID)
        if self.limits.none() or not len(spans):
            return Inspection()
        keep, discarded, charges = self._ruled(decoded, requests)
        usage = self._usage(decoded, requests, keep) if self.usage is not None else []
        return Inspection(keep, discarded, charges, usage)

    def attribute(self, counts: Sequence[UsageCount]) -> None:
        """Kafka has the spans: their bytes are their tenants'."""
        if self.usage is not None:
            self.usage.add(counts, lambda tenant: self.limits.of(tenant).cardinality_max)

    def _ruled(
        self, decoded: Decoded, requests: RequestFacts
    ) -> tuple[Bools | None, dict[int, tuple[Discarded, ...]], Sequence[Charge]]:
        limited = self.rules.limited(requests.tenants)
        if not limited:
            return None, {}, ()
        received_ns: Int64s | None = None
        if any(requests.received_ns):
            received_ns = np.array(requests.received_ns, np.int64)[decoded.request_of]
        ruled = self.rules.rule(decoded.spans, requests.tenants, requests.tenant_of, limited, received_ns)
        if not ruled.discards:
            return None, {}, ruled.charges
        keep = np.ones(len(decoded.spans), np.bool_)
        discarded: dict[int, tuple[Discarded, ...]] = {}
        for discard in ruled.discards:
            keep[discard.rows] = False
            counts = np.bincount(decoded.request_of[discard.rows])
            for request in np.flatnonzero(counts).tolist():
                one = Discarded(discard.reason, int(counts[request]), discard.text)
                discarded[request] = (*discarded.get(request, ()), one)
            self._log_discard(decoded.spans, discard, requests)
        return keep, discarded, ruled.charges

    def _log_discard(self, spans: pa.RecordBatch, discard: Discard, requests: RequestFacts) -> None:
        if self._discarded is not None:
            of = requests.tenant_of
            tenant = requests.tenants[0 if of is None else int(of[discard.rows[0]])]
            log_discarded(spans.take(pa.array(discard.rows)), self._discarded, tenant, discard.reason)

    def _usage(self, decoded: Decoded, requests: RequestFacts, keep: Bools | None) -> list[UsageCount]:
        """Each request's bytes, divided between its spans by their size, and counted by the dimensions of its tenant.

        What a request is larger than its spans, for its resources, belongs to its spans by that.
        """
        found: list[UsageCount] = []
        sizes: Floats | None = None
        for number, tenant in enumerate(requests.tenants):
            configured = self.limits.of(tenant).dimensions
            if not configured:
                continue
            if sizes is None:
                sizes = _shares(decoded, requests.sizes)
            mine = np.ones(len(sizes), np.bool_) if requests.tenant_of is None else requests.tenant_of == number
            if keep is not None:
                mine &= keep
            rows = np.flatnonzero(mine)
            if len(rows):
                spans = decoded.spans if len(rows) == len(sizes) else decoded.spans.take(pa.array(rows))
                found += usage_of(tenant, spans, sizes[rows], dimensions_of(configured))
        return found


def _shares(decoded: Decoded, request_bytes: Sequence[int]) -> Floats:
    own = span_bytes(decoded.spans, SpanAttributes(decoded.spans.column("attributes"))).astype(np.float64)
    totals = np.bincount(decoded.request_of, own, len(request_bytes))
    ratio = np.divide(request_bytes, totals, out=np.zeros(len(totals)), where=totals > 0)
    shares: Floats = own * ratio[decoded.request_of]
    return shares
