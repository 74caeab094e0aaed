"""Traces that follow from a seed and a time alone, so that any later process knows what must be stored.

Each trace has a word of its own, its token, in the attribute `vulture.token` of all its spans. A query for the token
must find this trace, all of it, and nothing else.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.cli.demo.trace import Value, key_values
from tables.units import NS_PER_MS, NS_PER_S

TOKEN: Final = "vulture.token"  # noqa: S105 (an attribute's key)
_SERVICES: Final = ("vulture-gateway", "vulture-orders", "vulture-stock", "vulture-payments")
_NAMES: Final = (
    "GET /orders",
    "POST /orders",
    "SELECT orders",
    "reserve",
    "charge card",
    "prüfen ✓",
    "publish",
    "render",
)
# A root, and what is below it, end before the trace's time: a span is never in the future.
_LENGTH_S: Final = 2
_LATE_WRITES_MAX: Final = 2
_SPANS_PER_WRITE: Final = (3, 8)
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, eq=False)
class KnownSpan:
    """A span, and the service and write that it belongs to. write: 0 for the first one, later ones come later"""

    service: int
    write: int
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class KnownTrace:
    """time_s: unix seconds; with the seed all else follows from it. spans: parents before their children; the first is
    the root
    """

    time_s: int
    trace_id: bytes
    token: str
    resources: Sequence[Resource]
    scopes: Sequence[InstrumentationScope]
    spans: Sequence[KnownSpan]

    @property
    def writes(self) -> int:
        """How many requests it is sent in, one after the other."""
        return 1 + max(known.write for known in self.spans)

    @property
    def hex_id(self) -> str:
        return self.trace_id.hex()

    def request(self, write: int) -> ExportTraceServiceRequest:
        """What the write sends, grouped by service."""
        return self._grouped(known for known in self.spans if known.write == write)

    def whole(self) -> ExportTraceServiceRequest:
        """The whole trace in one request: what all of its writes send."""
        return self._grouped(iter(self.spans))

    def _grouped(self, spans: Iterator[KnownSpan]) -> ExportTraceServiceRequest:
        by_service: dict[int, list[Span]] = {}
        for known in spans:
            by_service.setdefault(known.service, []).append(known.span)
        request = ExportTraceServiceRequest()
        for service, of_service in by_service.items():
            group = request.resource_spans.add(resource=self.resources[service])
            group.scope_spans.add(scope=self.scopes[service], spans=of_service)
        return request

    def service_name(self, known: KnownSpan) -> str:
        """The service of a span."""
        return _SERVICES[known.service]


def known_trace(seed: str, time_s: int) -> KnownTrace:
    """The trace of a time. seed: several vultures of one tenant need different ones"""
    digest = hashlib.sha256(f"{seed}\n{time_s}".encode()).digest()
    # Python's generator gives the same numbers in every version for these methods: see its documentation on
    # reproducibility. Ids and the token do not depend on it at all.
    rng = Random(int.from_bytes(digest, "big"))  # noqa: S311 (no secrets here)
    trace_id, token = digest[:16], digest[16:].hex()
    spans: list[KnownSpan] = []
    for write in range(1 + _below(rng, _LATE_WRITES_MAX + 1)):
        for _ in range(_SPANS_PER_WRITE[0] + _below(rng, _SPANS_PER_WRITE[1] - _SPANS_PER_WRITE[0] + 1)):
            spans.append(_span(rng, trace_id, token, time_s, spans, write))
    resources = [Resource(attributes=_resource_attributes(rng, name)) for name in _SERVICES]
    scopes = [InstrumentationScope(name=f"{name}/instrumentation", version=f"1.{_below(rng, 9)}") for name in _SERVICES]
    return KnownTrace(time_s, trace_id, token, resources, scopes, spans)


def _span(rng: Random, trace_id: bytes, token: str, time_s: int, before: Sequence[KnownSpan], write: int) -> KnownSpan:
    start_ns, duration_ns = (time_s - _LENGTH_S) * NS_PER_S, _LENGTH_S * NS_PER_S - NS_PER_MS
    parent = before[_below(rng, len(before))] if before else None
    if parent is not None:
        outer_ns = parent.span.end_time_unix_nano - parent.span.start_time_unix_nano
        offset_ns = _below(rng, max(1, outer_ns // 2))
        start_ns = parent.span.start_time_unix_nano + offset_ns
        duration_ns = 1 + _below(rng, max(1, outer_ns - offset_ns))
    kinds = (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_PRODUCER)
    span = Span(
        trace_id=trace_id,
        span_id=(1 + rng.getrandbits(63)).to_bytes(8, "big"),
        parent_span_id=b"" if parent is None else parent.span.span_id,
        name=_NAMES[_below(rng, len(_NAMES))],
        kind=Span.SPAN_KIND_SERVER if parent is None else kinds[_below(rng, len(kinds))],
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + duration_ns,
        attributes=_span_attributes(rng, token),
    )
    if _below(rng, 4) == 0:
        span.status.code, span.status.message = Status.STATUS_CODE_ERROR, f"failed: {_word(rng)}"
        exception = key_values({"exception.type": "VultureError", "exception.message": _word(rng)})
        span.events.add(time_unix_nano=start_ns + duration_ns // 2, name="exception", attributes=exception)
    if parent is not None and _below(rng, 4) == 0:
        span.links.add(
            trace_id=trace_id, span_id=parent.span.span_id, attributes=key_values({"vulture.link": _word(rng)})
        )
    return KnownSpan(_below(rng, len(_SERVICES)), write, span)


def _span_attributes(rng: Random, token: str) -> list[KeyValue]:
    """Of each type one, and some that not every span has."""
    made: dict[str, Value] = {
        TOKEN: token,
        "vulture.word": _word(rng),
        "vulture.number": _below(rng, 1_000_000),
        "vulture.ratio": _below(rng, 1000) / 8,
        "vulture.flag": _below(rng, 2) == 1,
        "vulture.words": [_word(rng) for _ in range(1 + _below(rng, 3))],
    }
    if _below(rng, 2):
        made["http.response.status_code"] = (200, 204, 404, 500)[_below(rng, 4)]
        made["http.route"] = "/" + _word(rng)
    if _below(rng, 3) == 0:
        made["vulture.blob"] = "".join(_word(rng) for _ in range(8))
    return key_values(made)


def _resource_attributes(rng: Random, service: str) -> list[KeyValue]:
    return key_values(
        {
            "service.name": service,
            "service.instance.id": _word(rng),
            "k8s.pod.name": f"{service}-{_word(rng)}",
            "vulture.resource": _word(rng),
        }
    )


def _word(rng: Random) -> str:
    """A word that no other trace is likely to have."""
    return "".join(_LETTERS[_below(rng, len(_LETTERS))] for _ in range(12))


def _below(rng: Random, end: int) -> int:
    """From 0 to end - 1."""
    return int(rng.random() * end)
