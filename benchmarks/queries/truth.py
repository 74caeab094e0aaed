"""The expected answers, counted from the workload's file in plain Python, without Stretto's code."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from benchmarks.queries.passes import ORDER_ID

SEARCHED: Final = "search"  # of query b: a fifth of the traces
FAILING: Final = "payments"
FRONT: Final = "storefront"
CUSTOMERS: Final = "customer-123"  # what the ids that query f looks for begin with
ANCESTOR: Final = "send orders"
BELOW: Final = "warehouse"
SLOW_NS: Final = 1_000_000_000
SLOW_SPANS: Final = 2  # query h: more than so many slow spans

Matched = dict[bytes, int]  # trace id → how many of its spans match


@dataclass(slots=True)
class Truth:
    """Of one workload's file; times and ids as they are in it.

    starts_ns, sizes: by trace id: its earliest start, the number of its spans
    matched: by the letter of a query in `cases.py`
    services, front_names: spans by service, and by name those of one service
    tags: names of attributes by TraceQL's scope
    first_ns, last_ns: of all spans
    """

    spans: int = 0
    first_ns: int = 2**63
    last_ns: int = 0
    starts_ns: dict[bytes, int] = field(default_factory=dict)
    sizes: Matched = field(default_factory=dict)
    matched: dict[str, Matched] = field(default_factory=dict)
    needle: str = ""  # the id of one order
    services: Counter[str] = field(default_factory=Counter)
    front_names: Counter[str] = field(default_factory=Counter)
    routes: set[str] = field(default_factory=set)
    tags: dict[str, set[str]] = field(default_factory=dict)


def read(requests: Sequence[bytes]) -> Truth:
    """Decode it all once: about 6 s and 300 MB a million spans. Raises ValueError where no order is in it."""
    reading = _Reading()
    for request in requests:
        for group in ExportTraceServiceRequest.FromString(request).resource_spans:
            reading.group(group)
    return reading.finish()


class _Reading:
    def __init__(self) -> None:
        self.truth = Truth(tags={scope: set() for scope in ("resource", "span", "event", "link", "instrumentation")})
        self.found: dict[str, Counter[bytes]] = {letter: Counter() for letter in "bcdf"}
        self.slow: Counter[bytes] = Counter()
        self.sizes: Counter[bytes] = Counter()
        self.orders: dict[str, Counter[bytes]] = {}
        self.traces: list[bytes] = []  # by span
        self.ids, self.parents = array("Q"), array("Q")
        self.is_ancestor, self.is_below = array("B"), array("B")

    def group(self, group: Any) -> None:
        """Counts the spans of one ResourceSpans."""
        service = next((a.value.string_value for a in group.resource.attributes if a.key == "service.name"), "")
        tags = self.truth.tags
        tags["resource"].update(a.key for a in group.resource.attributes)
        for of_scope in group.scope_spans:
            tags["instrumentation"].update(a.key for a in of_scope.scope.attributes)
            for span in of_scope.spans:
                self.span(span, service)

    def span(self, span: Span, service: str) -> None:
        """Count one span for all queries."""
        truth, trace_id = self.truth, span.trace_id
        start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
        truth.first_ns, truth.last_ns = min(truth.first_ns, start_ns), max(truth.last_ns, end_ns)
        truth.starts_ns[trace_id] = min(truth.starts_ns.get(trace_id, start_ns), start_ns)
        self.sizes[trace_id] += 1
        truth.services[service] += 1
        if service == SEARCHED:
            self.found["b"][trace_id] += 1
        if service == FAILING and span.status.code == Status.STATUS_CODE_ERROR:
            self.found["d"][trace_id] += 1
        if service == FRONT:
            truth.front_names[span.name] += 1
        if span.kind == Span.SPAN_KIND_SERVER and end_ns - start_ns > SLOW_NS:
            self.slow[trace_id] += 1
        self.traces.append(trace_id)
        self.ids.append(int.from_bytes(span.span_id, "big"))
        self.parents.append(int.from_bytes(span.parent_span_id, "big"))
        self.is_ancestor.append(span.name == ANCESTOR)
        self.is_below.append(service == BELOW)
        self.attributes(span)

    def attributes(self, span: Span) -> None:
        """Names for the tags; values for the queries that look at one."""
        truth, trace_id = self.truth, span.trace_id
        tags = truth.tags
        for attribute in span.attributes:
            key = attribute.key
            tags["span"].add(key)
            if key == "http.response.status_code":
                if attribute.value.int_value == 500:
                    self.found["c"][trace_id] += 1
            elif key == "http.route":
                truth.routes.add(attribute.value.string_value)
            elif key == "shop.customer.id":
                if attribute.value.string_value.startswith(CUSTOMERS):
                    self.found["f"][trace_id] += 1
            elif key == ORDER_ID:
                self.orders.setdefault(attribute.value.string_value, Counter())[trace_id] += 1
        for event in span.events:
            tags["event"].update(a.key for a in event.attributes)
        for link in span.links:
            tags["link"].update(a.key for a in link.attributes)

    def finish(self) -> Truth:
        truth = self.truth
        if not self.orders:
            raise ValueError("the workload has no order to search for: take more spans")
        truth.spans = len(self.traces)
        truth.sizes = dict(self.sizes)
        truth.needle = sorted(self.orders)[len(self.orders) // 2]
        truth.matched = {
            **{letter: dict(found) for letter, found in self.found.items()},
            "e": dict(self.orders[truth.needle]),
            "g": self._descendants(),
            "h": {trace_id: spans for trace_id, spans in self.slow.items() if spans > SLOW_SPANS},
            "i": {},
        }
        return truth

    def _descendants(self) -> Matched:
        under = below(
            np.frombuffer(self.ids, np.uint64),
            np.frombuffer(self.parents, np.uint64),
            np.frombuffer(self.is_ancestor, np.uint8).astype(bool),
        )
        hits = np.flatnonzero(under & np.frombuffer(self.is_below, np.uint8).astype(bool))
        return dict(Counter(self.traces[hit] for hit in hits))


def below(
    ids: npt.NDArray[np.uint64], parents: npt.NDArray[np.uint64], marked: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which spans have a marked one above them. ids: unique; a parent that is not there is none."""
    if len(set(ids.tolist())) != len(ids):
        raise ValueError("span ids are not unique in the workload")
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids, parents, sorter=order), len(ids) - 1)
    parent = order[at]
    known = ids[parent] == parents
    under = np.zeros(len(ids), bool)
    while True:
        now = known & (marked[parent] | under[parent])
        if (now == under).all():
            return under
        under = now
