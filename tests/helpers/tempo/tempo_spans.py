"""Spans as they went into a block of Tempo, and as they came out, in a form that can be compared."""

from collections import Counter
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans

DEDICATED = (
    {"s": "resource", "n": "k"},
    {"n": "a"},
    {"n": "http.route"},
    {"n": "k", "t": "int"},
    {"s": "event", "n": "b"},
    {"s": "event", "n": "", "t": "int"},
    {"s": "resource", "n": "ä:string[]", "t": "int"},
)


def spans(groups: Any) -> Counter[Any]:
    """Every span with its resource and scope, comparable; attributes in no order."""
    return Counter(
        (_bytes(group.resource), _bytes(scoped.scope), _bytes(span))
        for group in groups
        for scoped in group.scope_spans
        for span in scoped.spans
    )


def _bytes(message: Any) -> bytes:
    copy = type(message).FromString(message.SerializeToString())
    for owner in [copy, *getattr(copy, "events", ()), *getattr(copy, "links", ())]:
        kept = sorted(owner.attributes, key=lambda kv: kv.key)
        del owner.attributes[:]
        owner.attributes.extend(kept)
    return bytes(copy.SerializeToString(deterministic=True))


def held(request: ExportTraceServiceRequest, version: str) -> list[ResourceSpans]:
    """What vParquet holds of a request: neither flags nor an empty service name; in vParquet5 a dedicated column says
    neither that an array is empty nor that it has one item only.
    """
    out = ExportTraceServiceRequest.FromString(request.SerializeToString())
    dedicated: dict[str, dict[str, str]] = {"resource": {}, "span": {}, "event": {}}
    if version == "vParquet5":
        for one in DEDICATED:
            dedicated[one.get("s", "span")][one["n"]] = one.get("t", "string")
    for group in out.resource_spans:
        _hold(group.resource, dedicated["resource"])
        named = [kv for kv in group.resource.attributes if kv.key != "service.name" or kv.value != _EMPTY]
        del group.resource.attributes[:]
        group.resource.attributes.extend(named)
        for span in (span for scoped in group.scope_spans for span in scoped.spans):
            span.flags = 0
            span.status.SetInParent()
            _hold(span, dedicated["span"])
            for event in span.events:
                _hold(event, dedicated["event"])
            for link in span.links:
                link.flags = 0
    return list(out.resource_spans)


_EMPTY = AnyValue(string_value="")


def _hold(owner: Any, dedicated: dict[str, str]) -> None:
    kept = [held for kv in owner.attributes if (held := _held(kv, dedicated.get(kv.key, ""))) is not None]
    del owner.attributes[:]
    owner.attributes.extend(kept)


def _held(kv: KeyValue, word: str) -> KeyValue | None:
    items = kv.value.array_value.values
    if word and kv.value.WhichOneof("value") == "array_value" and len(items) < 2:
        if not items:
            return None
        if items[0].WhichOneof("value") == f"{word}_value":
            return KeyValue(key=kv.key, value=items[0])
    return kv
