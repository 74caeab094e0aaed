"""A counter of spans that clients sent twice."""

from typing import Final

from prometheus_client import Counter

DUPLICATES: Final = Counter(
    "stretto_spans_duplicate_total",
    "Spans left out because another one equals them in every field, by place: seal, flush, compaction, query.",
    ["place"],
)
