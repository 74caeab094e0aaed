"""What the metrics generator should count, from the requests themselves: one span at a time, slow, plain, for tests.

It shares no code with the product, so that the two can be compared. Times are of one push at the end of all: whatever
waited for its other half has waited long enough.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")
CALLERS, CALLED = ("CLIENT", "PRODUCER"), ("SERVER", "CONSUMER")
DATABASE = ("db.namespace", "db.name", "db.system", "db.system.name")


@dataclass(frozen=True, slots=True)
class Seen:
    """A span."""

    service: str
    name: str
    kind: str
    status: str
    seconds: float
    size_bytes: int
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    attributes: dict[str, str]

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """service, span_name, span_kind, status_code."""
        return self.service, self.name, f"SPAN_KIND_{self.kind}", f"STATUS_CODE_{self.status}"


@dataclass(slots=True)
class Edge:
    """Calls from one service to another."""

    count: int = 0
    failed: int = 0
    client_s: list[float] = field(default_factory=list)
    server_s: list[float] = field(default_factory=list)

    def add(self, client: Seen | None, server: Seen | None) -> None:
        """A call. None: a side that sends no spans; it took 0 s."""
        self.count += 1
        self.failed += any(side is not None and side.status == "ERROR" for side in (client, server))
        self.client_s.append(client.seconds if client else 0.0)
        self.server_s.append(server.seconds if server else 0.0)


Edges = dict[tuple[str, str, str], Edge]


def spans_of(bodies: Iterable[bytes]) -> list[Seen]:
    """All spans of the requests."""
    found = []
    for body in bodies:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {pair.key: pair.value.string_value for pair in group.resource.attributes}["service.name"]
            for scope in group.scope_spans:
                found += [_seen(service, span) for span in scope.spans]
    return found


def _seen(service: str, span: Span) -> Seen:
    texts = {pair.key: pair.value.string_value for pair in span.attributes if pair.value.HasField("string_value")}
    numbers = {pair.key: str(pair.value.int_value) for pair in span.attributes if pair.value.HasField("int_value")}
    return Seen(
        service,
        span.name,
        KINDS[span.kind],
        STATUSES[span.status.code],
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        span.ByteSize(),
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        texts | numbers,
    )


def buckets(seconds: Iterable[float], bounds_s: Sequence[float]) -> list[int]:
    """Observations up to each bound, then all of them."""
    counts = Counter[int]()
    for one in seconds:
        counts[next((place for place, bound_s in enumerate(bounds_s) if one <= bound_s), len(bounds_s))] += 1
    return [sum(counts[place] for place in range(upto + 1)) for upto in range(len(bounds_s) + 1)]


def edges(spans: Sequence[Seen], peer_attributes: Sequence[str] = ()) -> Edges:
    """By client, server, connection type. peer_attributes: name those who send no spans, first found first."""
    found: Edges = defaultdict(Edge)
    clients = {(one.trace_id, one.span_id): one for one in spans if one.kind in CALLERS and not _database(one)}
    answered = set()
    for server in (one for one in spans if one.kind in CALLED):
        key = (server.trace_id, server.parent_id)
        if not server.parent_id:
            found["user", server.service, "virtual_node"].add(None, server)
        elif key in clients:
            answered.add(key)
            client = clients[key]
            message = client.kind == "PRODUCER" or server.kind == "CONSUMER"
            found[client.service, server.service, "messaging_system" if message else ""].add(client, server)
    for client in (one for one in spans if one.kind in CALLERS):
        if database := _database(client):
            found[client.service, database, "database"].add(client, client)  # a database is as slow as its call
        elif (client.trace_id, client.span_id) not in answered:
            peer = next((client.attributes[key] for key in peer_attributes if key in client.attributes), None)
            if peer is not None:
                found[client.service, peer, "virtual_node"].add(client, None)
    return dict(found)


def _database(span: Seen) -> str | None:
    """Which database a client's span calls."""
    attributes = span.attributes
    if span.kind not in CALLERS or not any(key in attributes for key in DATABASE):
        return None
    for key in ("peer.service", "server.address"):
        if key in attributes:
            return attributes[key]
    if address := attributes.get("network.peer.address"):
        port = attributes.get("network.peer.port")
        return f"{address}:{port}" if port else address
    return next(attributes[key] for key in DATABASE if key in attributes)
