"""What was modified, added and removed between two traces: Tempo's form `trace-patch-v0`."""

import base64
import math
from collections import defaultdict
from typing import Any, Final

from app.api.tempo.jsonpb import Json
from app.api.trace_diff.spans import Item, SpanIdentity, Tree, is_number, same

VERSION: Final = "trace-patch-v0"
# Durations differ from run to run: a change is more than a fifth and a millisecond.
_DURATION_SHARE, _DURATION_NS = 0.2, 1e6
_SIZE_SHARE: Final = 0.05
# Attributes that are sizes or durations by the semantic conventions: of these a twentieth is no change.
_SIZES: Final = frozenset(
    {
        "http.request.body.size",
        "http.request.size",
        "http.response.body.size",
        "http.response.size",
        "http.request_content_length",
        "http.request_content_length_uncompressed",
        "http.response_content_length",
        "http.response_content_length_uncompressed",
        "messaging.message.body.size",
        "messaging.message.envelope.size",
        "message.compressed_size",
        "message.uncompressed_size",
        "rpc.message.compressed_size",
        "rpc.message.uncompressed_size",
        "file.size",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.prompt_tokens",
        "gen_ai.usage.completion_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.response.time_to_first_chunk",
        "app.jank.period",
    }
)


def patch(base: Tree, compare: Tree) -> Json:
    """What differs between two traces, as an object for JSON."""
    partners = _partners(base, compare)
    modified: list[Json] = []
    added: list[Json] = []
    for number, span in enumerate(compare.items):
        partner = partners.get(number)
        if partner is None:
            target: Json = {"type": "span", "parentPath": list(span.path[:-1]), "index": span.path[-1]}
            added.append(
                {"target": {name: value for name, value in target.items() if value != []}, "span": span.snapshot()}
            )
        elif changes := _fields(base.items[partner], span) + _attributes(base.items[partner], span):
            modified.append({"span": span.reference(), "changes": changes})
    matched = set(partners.values())
    removed = [
        {"target": {"type": "span", "path": list(span.path)}, "span": span.snapshot()}
        for number, span in enumerate(base.items)
        if number not in matched
    ]
    kinds = [change["target"]["type"] for one in modified for change in one["changes"]]
    return {
        "version": VERSION,
        "base": {"traceId": base.trace_id, "spanCount": base.span_count},
        "compare": {"traceId": compare.trace_id, "spanCount": compare.span_count},
        "stats": {
            "spanCountA": base.span_count,
            "spanCountB": compare.span_count,
            "matchedSpans": len(matched),
            "modifiedSpans": len(modified),
            "addedSpans": len(added),
            "removedSpans": len(removed),
            "fieldChanges": kinds.count("field"),
            "attributeChanges": kinds.count("attribute"),
            "eventChanges": 0,
            "truncated": False,
        },
        "modified": modified,
        "added": added,
        "removed": removed,
        "warnings": _warnings(base, compare),
    }


def _partners(base: Tree, compare: Tree) -> dict[int, int]:
    """Spans of the same identity, in order; of several the one whose parent is the same operation, too."""
    free: dict[SpanIdentity, list[int]] = defaultdict(list)  # the first one last, as below; some are taken already
    below: dict[tuple[SpanIdentity, SpanIdentity | None], list[int]] = defaultdict(list)
    for number in range(len(base.items) - 1, -1, -1):
        item = base.items[number]
        below[item.identity, item.parent].append(number)
        free[item.identity].append(number)
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for number, span in enumerate(compare.items):
        alike = below.get((span.identity, span.parent), []) if span.parent is not None else []
        for candidates in (alike, free.get(span.identity, [])):
            while candidates and candidates[-1] in taken:
                candidates.pop()
            if candidates:
                partners[number] = candidates.pop()
                taken.add(partners[number])
                break
    return partners


def _fields(base: Item, compare: Item) -> list[Json]:
    changes = []
    if _duration_changed(base.duration_ns, compare.duration_ns):
        changes.append(_field("duration_nanos", base.duration_ns, compare.duration_ns))
    if base.status != compare.status:
        changes.append(_field("status", base.status, compare.status))
    return changes


def _field(name: str, before: Any, after: Any) -> Json:
    return {"op": "modify", "target": {"type": "field", "name": name}, "before": before, "after": after}


def _duration_changed(before: int | None, after: int | None) -> bool:
    if before is None or after is None:
        return before is not after
    return abs(before - after) > _DURATION_NS + _DURATION_SHARE * max(before, after)


def _attributes(base: Item, compare: Item) -> list[Json]:
    changes = []
    for key in sorted({*base.attributes, *compare.attributes}):
        before, after = base.attributes.get(key), compare.attributes.get(key)
        if key not in base.attributes:
            op = "add"
        elif key not in compare.attributes:
            op = "remove"
        elif same(before, after) or (key in _SIZES and _close(before, after)):
            continue
        else:
            op = "modify"
        target = {"type": "attribute", "scope": "span", "key": key}
        changes.append({"op": op, "target": target, "before": _plain(before), "after": _plain(after)})
    return changes


def _close(a: Any, b: Any) -> bool:
    if not is_number(a) or not is_number(b) or not (math.isfinite(a) and math.isfinite(b)):
        return False
    return bool(abs(a - b) <= _SIZE_SHARE * max(abs(a), abs(b)))


def _plain(value: Any) -> Any:
    """A value of an attribute, as JSON can hold it."""
    match value:
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case _:
            return value


def _warnings(base: Tree, compare: Tree) -> list[Json]:
    """Each once; one about names is enough."""
    found: dict[str, Json] = {}
    for warning in [*base.warnings, *compare.warnings]:
        of_names = warning["code"] == "high_cardinality_span_name"
        found.setdefault(warning["code"] if of_names else warning["message"], warning)
    return list(found.values())
