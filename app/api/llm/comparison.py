"""The answer to compare() in few words: the values that distinguish the selection from the rest."""

from collections import defaultdict
from typing import Any, Final

from app.api.llm.values import clipped, fitting
from query.metrics.compare_function import META_ERROR
from query.metrics.compare_function import META_TYPE as META
from query.results import MetricsResult

Json = dict[str, Any]
_FRAME_BYTES: Final = 600
_SHOWN_MAX: Final = 40
_DIFFERENCE_MIN: Final = 0.01  # of shares; less says nothing


def is_comparison(result: MetricsResult) -> bool:
    """Whether it is compare()'s."""
    return any(key == META for one in result.series[:1] for key, _ in one.labels)


def comparison(result: MetricsResult, bytes_max: int) -> Json:
    """Attribute values by how much their share of the selected spans differs from that of the others, the greatest
    difference first. In: of an instant query
    """
    counts: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for one in result.series:
        labels = dict(one.labels)
        if META_ERROR in labels:  # too many values to name
            continue
        side = str(labels.pop(META, ""))
        value = one.samples[-1][1] if one.samples else 0.0
        for attribute, text in labels.items():
            if side.endswith("_total"):
                totals[attribute][side.removesuffix("_total")] += value
            else:
                counts[attribute, str(text)][side] += value
    rows = []
    for (attribute, text), sides in counts.items():
        total = totals[attribute]
        selection, baseline = (sides[side] / total[side] if total[side] else 0.0 for side in ("selection", "baseline"))
        rows.append((selection - baseline, attribute, text, selection, baseline))
    rows = sorted((row for row in rows if abs(row[0]) >= _DIFFERENCE_MIN), key=lambda row: (-abs(row[0]), row[1:3]))
    parts = (
        {
            "attribute": attribute,
            "value": clipped(text),
            "selectionShare": round(selection, 4),
            "baselineShare": round(baseline, 4),
        }
        for _, attribute, text, selection, baseline in rows[:_SHOWN_MAX]
    )
    kept, _ = fitting(parts, bytes_max - _FRAME_BYTES)
    out: Json = {
        "spans": {
            side: max((total[side] for total in totals.values()), default=0) for side in ("selection", "baseline")
        },
        "differences": kept,
    }
    if len(kept) < len(rows):
        out["truncated"] = f"{len(kept)} of {len(rows)} values are shown, those whose shares differ most"
    return out
