"""Queries."""

from typing import Final

from tools.dashboards.panels import Dashboard, Panel, Query, Row
from tools.dashboards.queries import RATE, quantiles, rate

READS: Final = Dashboard(
    "stretto-reads",
    "Stretto / Reads",
    "Queries: how many, how fast, what they cost, and what is refused.",
    [
        Row(
            "Requests",
            [
                Panel(
                    "Requests by route",
                    [Query(rate("stretto_request_duration_seconds_count", "route", 'route=~"/api/.*"'), "{{route}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "p99 by route",
                    [
                        Query(
                            "histogram_quantile(0.99, "
                            + rate("stretto_request_duration_seconds_bucket", "le, route", 'route=~"/api/.*"')
                            + ")",
                            "{{route}}",
                        )
                    ],
                    "s",
                    alerts=("StrettoQueriesSlow",),
                ),
                Panel(
                    "Errors",
                    [
                        Query(
                            rate("stretto_request_duration_seconds_count", "status_code", 'status_code=~"4..|5.."'),
                            "{{status_code}}",
                        )
                    ],
                    "reqps",
                    alerts=("StrettoQueriesFail",),
                ),
            ],
        ),
        Row(
            "Queries",
            [
                Panel(
                    "Running and queued",
                    [
                        Query("sum(stretto_queries_running{SEL})", "running"),
                        Query("sum(stretto_query_frontend_jobs_queued{SEL})", "jobs queued"),
                        Query("sum(stretto_query_frontend_jobs_running{SEL})", "jobs running"),
                    ],
                ),
                Panel(
                    "Time in the queue",
                    quantiles("stretto_query_frontend_queue_seconds"),
                    "s",
                    "More queriers make it shorter.",
                    alerts=("StrettoNoQueriers",),
                ),
                Panel(
                    "Refused, cancelled, started again",
                    [
                        Query(rate("stretto_queries_refused_total"), "refused: too many at once"),
                        Query(rate("stretto_query_memory_refused_total", "limit"), "{{limit}}"),
                        Query(rate("stretto_queries_cancelled_total"), "cancelled by the client"),
                        Query(rate("stretto_query_restarts_total", "reason"), "again: {{reason}}"),
                    ],
                    "cps",
                    alerts=("StrettoRefusesQueries", "StrettoQueriesTooLarge", "StrettoPartitionsNotAnswered"),
                ),
                Panel(
                    "Memory of queries",
                    [Query("sum by (instance) (stretto_query_memory_bytes{SEL})", "{{instance}}")],
                    "bytes",
                ),
            ],
        ),
        Row(
            "Storage and caches",
            [
                Panel(
                    "Storage requests of a query",
                    quantiles("stretto_query_storage_requests", "operation"),
                    "short",
                ),
                Panel(
                    "Storage time",
                    quantiles("stretto_storage_request_duration_seconds", "operation"),
                    "s",
                    alerts=("StrettoStorageSlow",),
                ),
                Panel(
                    "Hits of caches",
                    [
                        Query(
                            f"sum by (cache) (rate(stretto_cache_hits_total{{SEL}}[{RATE}])) / "
                            f"(sum by (cache) (rate(stretto_cache_hits_total{{SEL}}[{RATE}])) + "
                            f"sum by (cache) (rate(stretto_cache_misses_total{{SEL}}[{RATE}])))",
                            "{{cache}}",
                        )
                    ],
                    "percentunit",
                ),
                Panel(
                    "Damaged or missing",
                    [
                        Query("sum by (reason) (stretto_blocks_damaged{SEL})", "{{reason}}"),
                        Query("sum(stretto_missing_blocks{SEL})", "missing"),
                        Query("sum(stretto_cuts_damaged{SEL})", "cuts"),
                        Query("sum(stretto_blocklist_indexes_damaged{SEL})", "indexes"),
                    ],
                    "short",
                    "Queries of these times are PARTIAL or 503: `stretto blocks check` says what to do.",
                    zero_is_well=True,
                    alerts=("StrettoBlocksDamaged", "StrettoCatalogueDamaged", "BlocksAreMissing"),
                ),
            ],
        ),
    ],
)
