"""Whether a trace in JSON has the same content as the one that was sent.

The reference is protobuf's own JSON, not the one that the server's code makes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Json = Mapping[str, Any]
# Tempo's JSON has no flags; the order of attributes means nothing.
_NOT_COMPARED: Final = frozenset({"flags", "attributes", "traceId"})


def compare_traces(sent: ExportTraceServiceRequest, found: Json) -> tuple[str, str, str] | None:
    """None where both are alike; else the kind of error (`missingspans`, `incorrectresult`), and what was expected and
    found at the first difference.
    """
    expected = dict(_spans(MessageToDict(sent)))
    pairs = list(_spans(found))
    got = dict(pairs)
    missing = sorted(expected.keys() - got.keys())
    if missing:
        return "missingspans", f"{len(expected)} spans", f"{len(got)} spans; without {', '.join(missing)}"
    if further := sorted(got.keys() - expected.keys()):
        return "incorrectresult", f"{len(expected)} spans", f"also {', '.join(further)}"
    if twice := [span_id for span_id, count in Counter(span_id for span_id, _ in pairs).items() if count > 1]:
        return "incorrectresult", "each span once", f"twice: {', '.join(twice)}"
    for span_id, span in expected.items():
        other = got[span_id]
        for name in sorted(span.keys() | other.keys()):
            if span.get(name) != other.get(name):
                return (
                    "incorrectresult",
                    f"span {span_id}: {name} = {span.get(name)}",
                    f"{name} = {other.get(name)}",
                )
    return None


def plain_value(value: Any) -> Any:
    """The Python value of OTLP's AnyValue, as protobuf or as JSON."""
    found = value if isinstance(value, Mapping) else MessageToDict(value)
    for kind, one in found.items():
        if kind == "arrayValue":
            return tuple(plain_value(item) for item in one.get("values", []))
        return int(one) if kind == "intValue" else one
    return None


def _spans(trace: Json) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each span's id, in base64, and all that is known of it, in a form that can be compared."""
    for group in trace.get("resourceSpans", []):
        resource = _attributes(group.get("resource", {}))
        for scope in group.get("scopeSpans", []):
            of_scope = {"resource": resource, "scope": scope.get("scope", {})}
            for span in scope.get("spans", []):
                yield span.get("spanId", ""), {**of_scope, **_content(span)}


def _content(span: Json) -> dict[str, Any]:
    content = {name: value for name, value in span.items() if name not in _NOT_COMPARED}
    content["trace"] = span.get("traceId")
    content["attributes"] = _attributes(span)
    content.setdefault("status", {})
    for name in ("events", "links"):
        content[name] = [
            {
                **{key: value for key, value in one.items() if key not in {"flags", "attributes"}},
                "attributes": _attributes(one),
            }
            for one in span.get(name, [])
        ]
    return content


def _attributes(holder: Json) -> dict[str, str]:
    """Values with their types, as text: 1 and 1.0 and true are three values."""
    return {one["key"]: json.dumps(one.get("value", {}), sort_keys=True) for one in holder.get("attributes", [])}
