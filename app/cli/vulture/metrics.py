"""What vulture counts. The names that begin with tempo_vulture_ are those of Tempo's own vulture."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

TRACES_CHECKED: Final = Counter("tempo_vulture_trace_total", "Checks of known traces that were made.")
TRACE_ERRORS: Final = Counter(
    "tempo_vulture_trace_error_total",
    "Checks of known traces that failed, by error: notfound_byid, missingspans, incorrectresult (spans differ), "
    "notfound_search (by tags), notfound_traceql (by an attribute), notfound_structure, incorrect_search_result, "
    "notfound_tag, incorrect_tags, notfound_tag_value, incorrect_tag_values, notfound_metrics, inaccurate_metrics, "
    "partial, requestfailed.",
    ["error"],
)
ERRORS: Final = Counter("tempo_vulture_error_total", "Failures of vulture itself: traces that were not acknowledged.")
CHECKS: Final = Counter("stretto_vulture_checks_total", "Checks, by kind and age of the trace.", ["check", "age"])
CHECK_SECONDS: Final = Histogram("stretto_vulture_check_seconds", "Time until a check was answered.", ["check"])
WRITES: Final = Counter(
    "stretto_vulture_writes_total", "Requests with spans, by result: acknowledged, failed.", ["result"]
)
WRITE_SECONDS: Final = Histogram("stretto_vulture_write_seconds", "Time until spans were acknowledged.")
LAST_WRITE: Final = Gauge(
    "stretto_vulture_last_acknowledged_timestamp_seconds", "When a trace was last acknowledged whole, in unix seconds."
)
SKIPPED: Final = Counter(
    "stretto_vulture_skipped_total", "Traces that were not written or checked since earlier ones took too long."
)

ERROR_NAMES: Final = (
    "notfound_byid",
    "missingspans",
    "incorrectresult",
    "notfound_search",
    "notfound_traceql",
    "notfound_structure",
    "incorrect_search_result",
    "notfound_tag",
    "incorrect_tags",
    "notfound_tag_value",
    "incorrect_tag_values",
    "notfound_metrics",
    "inaccurate_metrics",
    "partial",
    "requestfailed",
)


def show_zeros() -> None:
    """Shows every error from the start: a counter that appears with its first failure has no increase to alert on."""
    for name in ERROR_NAMES:
        TRACE_ERRORS.labels(name)
    for result in ("acknowledged", "failed"):
        WRITES.labels(result)
