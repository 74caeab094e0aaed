"""What changed between two traces in short: Tempo's forms `trace-summary-v0-native` and `trace-summary-v0-composed`."""

from collections import Counter, defaultdict
from typing import Any, Final

import orjson

from app.api.tempo.jsonpb import Json
from app.api.trace_diff.patch import patch
from app.api.trace_diff.spans import Tree
from tables.units import NS_PER_MS

NATIVE: Final = "trace-summary-v0-native"
COMPOSED: Final = "trace-summary-v0-composed"
_PATCH_BYTES_MAX: Final = 64 << 10
# The sum of a service's durations has changed from a millisecond and a twentieth on.
_DRIFT_NS_MIN, _DRIFT_PARTS = 1_000_000, 20


def composed(base: Tree, compare: Tree) -> Json:
    """The summary, and the patch unless it is large."""
    made = patch(base, compare)
    out: Json = {"version": COMPOSED, "summary": summary(base, compare, made)}
    size = len(orjson.dumps(made))
    if size <= _PATCH_BYTES_MAX:
        return out | {"patch": made}
    return out | {"patchOmitted": {"bytes": size, "reason": "over_budget"}}


def summary(base: Tree, compare: Tree, made: Json) -> Json:
    """The differences of two traces by operation, in Stretto's own form. made: the patch between them"""
    stats = made["stats"]
    before, after = _side(base), _side(compare)
    moved = {service for service, rows in _moved(base, compare).items() if rows}
    changed, services = _services(base, compare, made)
    matched, counts = stats["matchedSpans"], (base.span_count, compare.span_count)
    deltas = {
        "traceLatencyDeltaMs": _ms(_envelope_ns(compare) - _envelope_ns(base)),
        "sumSpanDurationDeltaMs": _ms(_sum_ns(compare) - _sum_ns(base)),
        "spanCountDelta": counts[1] - counts[0],
        "errorSpanDelta": after["errorSpanCount"] - before["errorSpanCount"],
    }
    same_structure = not (moved or made["added"] or made["removed"])
    out: Json = {
        "version": NATIVE,
        "base": before,
        "compare": after,
        "signals": {
            "traceLatency": _signal(deltas["traceLatencyDeltaMs"]),
            "sumSpanDuration": _signal(deltas["sumSpanDurationDeltaMs"]),
            "errors": _signal(deltas["errorSpanDelta"]),
            "spanCount": _signal(deltas["spanCountDelta"]),
            "structure": "unchanged" if same_structure else "changed",
        },
        "trust": {"matchedSpanRatio": _ratio(matched, counts, max), "structureOverlap": _ratio(matched, counts, min)},
        "stats": deltas
        | {
            name: stats[name]
            for name in (
                "matchedSpans",
                "modifiedSpans",
                "addedSpans",
                "removedSpans",
                "fieldChanges",
                "attributeChanges",
            )
        },
        "changedServices": sorted(moved | changed),
        "services": services,
    }
    return out | ({"warnings": made["warnings"]} if made["warnings"] else {})


def _side(tree: Tree) -> Json:
    root = tree.items[0].identity if tree.items else None
    names = {} if root is None else {"rootService": root.service, "rootName": root.name}
    return {
        "traceId": tree.trace_id,
        **{name: value for name, value in names.items() if value},
        "spanCount": tree.span_count,
        "errorSpanCount": sum(span.status == "error" for span in tree.items),
        "durationMs": _ms(_envelope_ns(tree)),
        "sumSpanDurationMs": _ms(_sum_ns(tree)),
    }


def _envelope_ns(tree: Tree) -> int:
    """From the first start to the last end."""
    timed = [(span.start_ns, span.start_ns + span.duration_ns) for span in tree.items if span.duration_ns is not None]
    return max(end for _, end in timed) - min(start for start, _ in timed) if timed else 0


def _sum_ns(tree: Tree) -> int:
    return sum(span.duration_ns or 0 for span in tree.items)


def _moved(base: Tree, compare: Tree) -> dict[str, Counter[Any]]:
    """By service: operations that are under another parent, or oftener or less often there."""
    rows: dict[str, tuple[Counter[Any], Counter[Any]]] = defaultdict(lambda: (Counter(), Counter()))
    for side, tree in enumerate((base, compare)):
        for span in tree.items:
            rows[_named(span.identity.service)][side][span.identity, span.parent] += 1
    return {service: (a - b) + (b - a) for service, (a, b) in rows.items()}


def _services(base: Tree, compare: Tree, made: Json) -> tuple[set[str], list[Json]]:
    counts = _counts(made)
    sums = [Counter[str](), Counter[str]()]
    for side, tree in enumerate((base, compare)):
        for span in tree.items:
            sums[side][_named(span.identity.service)] += span.duration_ns or 0
    rows: list[Json] = []
    for service in {*sums[0], *sums[1], *counts}:
        delta = sums[1][service] - sums[0][service]
        if service not in counts and abs(delta) < max(_DRIFT_NS_MIN, -(-sums[0][service] // _DRIFT_PARTS)):
            continue
        found: Counter[str] = counts.get(service, Counter())
        names = ("modified", "added", "removed", "newErrors", "resolvedErrors")
        numbers = {name: found[name] for name in names}
        rows.append({"name": service, "sumSpanDurationDeltaMs": _ms(delta), **numbers})
    rows.sort(key=lambda row: (-abs(row["sumSpanDurationDeltaMs"]), -row["newErrors"], row["name"]))
    return {row["name"] for row in rows}, rows


def _counts(made: Json) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in made["modified"]:
        found = counts[_named(one["span"]["service"])]
        found["modified"] += 1
        for change in one["changes"]:
            if change["target"].get("name") == "status":
                found["newErrors"] += change["after"] == "error"
                found["resolvedErrors"] += change["before"] == "error"
    for name, errors in (("added", "newErrors"), ("removed", "resolvedErrors")):
        for one in made[name]:
            found = counts[_named(one["span"]["service"])]
            found[name] += 1
            found[errors] += one["span"]["status"] == "error"
    return counts


def _named(service: str) -> str:
    return service or "<unknown>"


def _ms(ns: int) -> int:
    """Nanoseconds as milliseconds, rounded towards zero."""
    return ns // NS_PER_MS if ns >= 0 else -(-ns // NS_PER_MS)


def _signal(delta: int) -> str:
    return "increased" if delta > 0 else "decreased" if delta < 0 else "unchanged"


def _ratio(matched: int, counts: tuple[int, int], of: Any) -> float:
    if counts == (0, 0):
        return 1.0
    return matched / of(counts) if of(counts) else 0.0
