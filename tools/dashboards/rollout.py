"""While processes are replaced."""

from typing import Final

from tools.dashboards.panels import Dashboard, Panel, Query, Row
from tools.dashboards.queries import rate

ROLLOUT: Final = Dashboard(
    "stretto-rollout",
    "Stretto / Rollout",
    "While processes are replaced: who is there, and does anybody notice?",
    [
        Row(
            "Processes",
            [
                Panel(
                    "Members by target and state",
                    [Query("max by (target, state) (stretto_members{SEL})", "{{target}} {{state}}")],
                    "short",
                    "As one process sees them. UNHEALTHY ones have not been heard of.",
                    alerts=("StrettoMembersUnhealthy",),
                ),
                Panel("Up", [Query('sum by (job) (up{job=~"$job"})', "{{job}}")], alerts=("StrettoDown",)),
                Panel(
                    "Age",
                    [Query("time() - process_start_time_seconds{SEL}", "{{instance}}")],
                    "s",
                    alerts=("StrettoRestarts",),
                ),
            ],
        ),
        Row(
            "Does anybody notice?",
            [
                Panel(
                    "Refused requests",
                    [Query(rate("stretto_requests_refused_total", "reason"), "{{reason}}")],
                    "reqps",
                    zero_is_well=True,
                    alerts=("StrettoRefusesSpans",),
                ),
                Panel(
                    "Lag in records",
                    [Query("sum by (app) (stretto_consumer_lag_records{SEL})", "{{app}}")],
                    alerts=("StrettoConsumerBehind",),
                ),
                Panel(
                    "Answers of 5xx",
                    [
                        Query(
                            rate("stretto_request_duration_seconds_count", "route", 'status_code=~"5.."'),
                            "{{route}}",
                        )
                    ],
                    "reqps",
                    zero_is_well=True,
                    alerts=("StrettoQueriesFail",),
                ),
                Panel(
                    "Consumers rebuilt",
                    [Query(rate("stretto_consumer_rebuilds_total", "app, reason"), "{{app}} {{reason}}")],
                    "cps",
                    zero_is_well=True,
                    alerts=("StrettoConsumerRebuilt",),
                ),
            ],
        ),
    ],
)
