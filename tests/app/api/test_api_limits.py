"""Each limit of the API is its setting's."""

from dataclasses import asdict

from app.api.limits import ApiLimits
from app.settings.models import QueryFrontend

SETTINGS = {
    "max_query_expression_size_bytes": 11,
    "search": {
        "default_result_limit": 12,
        "max_result_limit": 13,
        "max_duration_s": 14,
        "default_spans_per_span_set": 15,
        "max_spans_per_span_set": 16,
    },
    "metrics": {"max_duration_s": 17},
    "trace_by_id": {"max_bytes_per_trace": 18, "max_spans_per_page": 19},
}


def test_from_settings() -> None:
    """No two of them are mixed up, and none keeps its default."""
    assert asdict(ApiLimits.of(QueryFrontend.model_validate(SETTINGS), 20)) == {
        "max_query_expression_size_bytes": 11,
        "default_result_limit": 12,
        "max_result_limit": 13,
        "max_search_duration_s": 14,
        "default_spans_per_span_set": 15,
        "max_spans_per_span_set": 16,
        "max_metrics_duration_s": 17,
        "max_bytes_per_trace": 18,
        "max_spans_per_page": 19,
        "allow_partial": False,
        "max_send_msg_size_bytes": 20,
    }
