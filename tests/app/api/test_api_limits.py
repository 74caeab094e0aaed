"""The limits of the API for a query that asks for several tenants."""

import pytest

from app.api.limits import ApiLimits, strictest


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param([{"max_search_duration_s": 5}], {"max_search_duration_s": 5}, id="one"),
        pytest.param(
            [{"max_search_duration_s": 5}, {"max_search_duration_s": 3}], {"max_search_duration_s": 3}, id="the least"
        ),
        pytest.param([{}, {"max_query_memory_bytes": 7}], {"max_query_memory_bytes": 7}, id="0 is no limit"),
        pytest.param([{"max_query_memory_bytes": 7}, {}], {"max_query_memory_bytes": 7}, id="0 is no limit, after it"),
        pytest.param(
            [
                {"max_metrics_duration_s": 9, "metrics_duration_setting": "a's"},
                {"max_metrics_duration_s": 8, "metrics_duration_setting": "b's", "max_bytes_per_tag_values_query": 4},
                {"max_bytes_per_tag_values_query": 6},
            ],
            {"max_metrics_duration_s": 8, "metrics_duration_setting": "b's", "max_bytes_per_tag_values_query": 4},
            id="each of another tenant",
        ),
    ],
)
def test_strictest(limits: list[dict[str, object]], expected: dict[str, object]) -> None:
    assert strictest([ApiLimits(**one) for one in limits]) == ApiLimits(**expected)  # type: ignore[arg-type]
