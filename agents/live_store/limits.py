"""Limits of the live store."""

from dataclasses import dataclass

_LAG_S_MAX = 5.0


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Limits of the live store.

    pending_spans_max: above it (spans that wait to be sealed) consumption pauses
    head_bytes_max: above it the fullest partition is sealed early
    segment_bytes_max: above it (segments on disk that are not in blocks) consumption pauses
    lag_s_max: seconds behind the end offset that Kafka reports, after which a partition counts as missing for queries
    retention_s: how long Kafka keeps records, as far as the settings say; 0: not known
    """

    pending_spans_max: int
    head_bytes_max: int
    segment_bytes_max: int
    lag_s_max: float = _LAG_S_MAX
    retention_s: float = 0.0
