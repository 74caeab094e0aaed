"""What the dashboards show."""

from typing import Final

from tools.dashboards.panels import Dashboard, Panel, Query, Row, label_variable

_RATE: Final = "$__rate_interval"


def _rate(metric: str, by: str = "", labels: str = "") -> str:
    group = f" by ({by})" if by else ""
    return f"sum{group} (rate({metric}{{SEL{', ' + labels if labels else ''}}}[{_RATE}]))"


def _quantiles(metric: str, by: str = "", labels: str = "") -> list[Query]:
    group = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return [
        Query(f"histogram_quantile({q}, {_rate(f'{metric}_bucket', group, labels)})", f"{legend}{name}")
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    ]


WRITES: Final = Dashboard(
    "stretto-writes",
    "Stretto / Writes",
    "From the receivers to blocks: is everything taken, and does it become searchable and stored?",
    [
        Row(
            "Receivers",
            [
                Panel("Spans received", [Query(_rate("stretto_spans_received_total"), "spans")], "cps"),
                Panel(
                    "Spans by receiver",
                    [
                        Query(
                            f"sum by (receiver, transport) (rate(tempo_receiver_accepted_spans{{SEL}}[{_RATE}]))",
                            "{{receiver}} {{transport}}",
                        )
                    ],
                    "cps",
                    stacked=True,
                ),
                Panel(
                    "Refused requests",
                    [Query(_rate("stretto_requests_refused_total", "reason"), "{{reason}}")],
                    "reqps",
                    "Clients send these again. The reason says what is full or away.",
                    zero_is_well=True,
                ),
                Panel(
                    "Discarded spans",
                    [Query(_rate("tempo_discarded_spans_total", "reason"), "{{reason}}")],
                    "cps",
                    "These are lost: the client was told, with the reason.",
                    zero_is_well=True,
                ),
            ],
        ),
        Row(
            "Kafka",
            [
                Panel(
                    "Time until Kafka acknowledges",
                    _quantiles("stretto_produce_seconds"),
                    "s",
                    "Clients wait as long as this, and some milliseconds for the batch.",
                ),
                Panel("Bytes written to Kafka", [Query(_rate("stretto_record_bytes_produced_total"), "bytes")], "Bps"),
                Panel(
                    "Lag in records",
                    [Query("sum by (app, topic) (stretto_consumer_lag_records{SEL})", "{{app}} {{topic}}")],
                    "short",
                    "Records that a consumer has not read yet. Queries wait for them, or say that they are missing.",
                ),
                Panel(
                    "Bytes in flight",
                    [Query("sum by (instance) (stretto_receiver_in_flight_bytes{SEL})", "{{instance}}")],
                    "bytes",
                ),
            ],
        ),
        Row(
            "Live store",
            [
                Panel(
                    "Spans in heads, and not in blocks yet",
                    [
                        Query("sum(stretto_live_store_head_spans{SEL})", "in heads"),
                        Query("sum(stretto_live_store_pending_spans{SEL})", "not in blocks"),
                    ],
                ),
                Panel(
                    "Memory of heads, disk of segments",
                    [
                        Query("sum by (instance) (stretto_live_store_head_bytes{SEL})", "{{instance}} heads"),
                        Query("sum by (instance) (stretto_live_store_segment_bytes{SEL})", "{{instance}} segments"),
                    ],
                    "bytes",
                ),
                Panel(
                    "Waits and failures",
                    [
                        Query(_rate("stretto_live_store_seal_waits_total"), "waited for a seal"),
                        Query(_rate("stretto_live_store_disk_waits_total"), "waited for the disk"),
                        Query(_rate("stretto_live_store_failures_total"), "failures"),
                    ],
                    "cps",
                    zero_is_well=True,
                ),
            ],
        ),
        Row(
            "Blocks",
            [
                Panel("Blocks written", [Query(_rate("stretto_blocks_flushed_total"), "blocks")], "cps"),
                Panel("Bytes written", [Query(_rate("stretto_block_bytes_flushed_total"), "bytes")], "Bps"),
                Panel(
                    "Failed flushes",
                    [Query(_rate("stretto_block_flush_failures_total", "instance"), "{{instance}}")],
                    "cps",
                    "Spans wait on the local disk, then in Kafka. The log says why.",
                    zero_is_well=True,
                ),
                Panel(
                    "Storage requests",
                    [Query(_rate("stretto_storage_requests_total", "operation, status"), "{{operation}} {{status}}")],
                    "reqps",
                ),
            ],
        ),
    ],
)

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
                    [Query(_rate("stretto_request_duration_seconds_count", "route", 'route=~"/api/.*"'), "{{route}}")],
                    "reqps",
                    stacked=True,
                ),
                Panel(
                    "p99 by route",
                    [
                        Query(
                            "histogram_quantile(0.99, "
                            + _rate("stretto_request_duration_seconds_bucket", "le, route", 'route=~"/api/.*"')
                            + ")",
                            "{{route}}",
                        )
                    ],
                    "s",
                ),
                Panel(
                    "Errors",
                    [
                        Query(
                            _rate("stretto_request_duration_seconds_count", "status_code", 'status_code=~"4..|5.."'),
                            "{{status_code}}",
                        )
                    ],
                    "reqps",
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
                    _quantiles("stretto_query_frontend_queue_seconds"),
                    "s",
                    "More queriers make it shorter.",
                ),
                Panel(
                    "Refused, cancelled, started again",
                    [
                        Query(_rate("stretto_queries_refused_total"), "refused: too many at once"),
                        Query(_rate("stretto_query_memory_refused_total", "limit"), "{{limit}}"),
                        Query(_rate("stretto_queries_cancelled_total"), "cancelled by the client"),
                        Query(_rate("stretto_query_restarts_total", "reason"), "again: {{reason}}"),
                    ],
                    "cps",
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
                    _quantiles("stretto_query_storage_requests", "operation"),
                    "short",
                ),
                Panel("Storage time", _quantiles("stretto_storage_request_duration_seconds", "operation"), "s"),
                Panel(
                    "Hits of caches",
                    [
                        Query(
                            f"sum by (cache) (rate(stretto_cache_hits_total{{SEL}}[{_RATE}])) / "
                            f"(sum by (cache) (rate(stretto_cache_hits_total{{SEL}}[{_RATE}])) + "
                            f"sum by (cache) (rate(stretto_cache_misses_total{{SEL}}[{_RATE}])))",
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
                ),
            ],
        ),
    ],
)

RESOURCES: Final = Dashboard(
    "stretto-resources",
    "Stretto / Resources",
    "Processor, memory and event loops of all processes; compaction.",
    [
        Row(
            "Processes",
            [
                Panel("CPU", [Query(_rate("process_cpu_seconds_total", "instance"), "{{instance}}")], "short"),
                Panel("Memory", [Query("process_resident_memory_bytes{SEL}", "{{instance}}")], "bytes"),
                Panel("Open files", [Query("process_open_fds{SEL}", "{{instance}}")]),
            ],
        ),
        Row(
            "Event loop",
            [
                Panel(
                    "Lateness, p99",
                    [
                        Query(
                            "histogram_quantile(0.99, "
                            + _rate("stretto_event_loop_stall_seconds_bucket", "le, instance")
                            + ")",
                            "{{instance}}",
                        )
                    ],
                    "s",
                    "Above 100 ms acknowledgements and answers are late: the next panels say why.",
                ),
                Panel(
                    "Share of time that it waits for a CPU",
                    [Query(_rate("stretto_event_loop_cpu_wait_seconds_sum", "instance"), "{{instance}}")],
                    "percentunit",
                    "The machine is too small, or something else uses it.",
                ),
                Panel(
                    "Share of time that it waits for the GIL",
                    [Query(_rate("stretto_event_loop_gil_wait_seconds_sum", "instance"), "{{instance}}")],
                    "percentunit",
                    "Queries and merges in the same process take it: give them processes of their own.",
                ),
            ],
        ),
        Row(
            "Compaction",
            [
                Panel("Blocks", [Query("sum by (tenant) (stretto_compaction_visible_blocks{SEL})", "{{tenant}}")]),
                Panel(
                    "Jobs",
                    [
                        Query("sum(stretto_compaction_jobs_queued{SEL})", "queued"),
                        Query("sum(stretto_compaction_jobs_running{SEL})", "running"),
                        Query("sum by (tenant) (tempodb_compaction_outstanding_blocks{SEL})", "to merge: {{tenant}}"),
                    ],
                ),
                Panel(
                    "Failures",
                    [
                        Query(_rate("stretto_compaction_job_failures_total"), "jobs"),
                        Query(_rate("tempodb_retention_errors_total"), "retention"),
                    ],
                    "cps",
                    zero_is_well=True,
                ),
                Panel("Deleted by retention", [Query(_rate("tempodb_retention_deleted_total"), "blocks")], "cps"),
            ],
        ),
    ],
)

TENANTS: Final = Dashboard(
    "stretto-tenants",
    "Stretto / Tenants",
    "What each tenant sends, what is refused, and the series that are made for it.",
    [
        Row(
            "Ingestion",
            [
                Panel(
                    "Spans",
                    [
                        Query(
                            _rate("tempo_distributor_spans_received_total", "tenant", 'tenant=~"$tenant"'), "{{tenant}}"
                        )
                    ],
                    "cps",
                    stacked=True,
                ),
                Panel(
                    "Bytes",
                    [
                        Query(
                            _rate("tempo_distributor_bytes_received_total", "tenant", 'tenant=~"$tenant"'), "{{tenant}}"
                        )
                    ],
                    "Bps",
                    stacked=True,
                ),
                Panel(
                    "Discarded spans",
                    [
                        Query(
                            _rate("tempo_discarded_spans_total", "tenant, reason", 'tenant=~"$tenant"'),
                            "{{tenant}} {{reason}}",
                        )
                    ],
                    "cps",
                    zero_is_well=True,
                ),
            ],
        ),
        Row(
            "Metrics generator",
            [
                Panel(
                    "Active series",
                    [
                        Query(
                            'sum by (tenant) (tempo_metrics_generator_registry_active_series{SEL, tenant=~"$tenant"})',
                            "{{tenant}}",
                        )
                    ],
                ),
                Panel(
                    "Spans counted as overflow",
                    [
                        Query(
                            _rate("tempo_metrics_generator_registry_overflowed_total", "tenant", 'tenant=~"$tenant"'),
                            "{{tenant}}",
                        )
                    ],
                    "cps",
                    "The limit of series is reached: raise it, or drop a dimension.",
                ),
                Panel(
                    "Failed pushes",
                    [
                        Query(
                            _rate(
                                "tempo_metrics_generator_remote_write_failures_total",
                                "tenant, target",
                                'tenant=~"$tenant"',
                            ),
                            "{{tenant}} {{target}}",
                        )
                    ],
                    "cps",
                    zero_is_well=True,
                ),
            ],
        ),
        Row(
            "Blocks",
            [
                Panel(
                    "Blocks",
                    [
                        Query(
                            'sum by (tenant) (stretto_compaction_visible_blocks{SEL, tenant=~"$tenant"})', "{{tenant}}"
                        )
                    ],
                ),
                Panel(
                    "Blocks that wait for a merge",
                    [
                        Query(
                            'sum by (tenant) (tempodb_compaction_outstanding_blocks{SEL, tenant=~"$tenant"})',
                            "{{tenant}}",
                        )
                    ],
                ),
            ],
        ),
    ],
    [label_variable("tenant", "tempo_distributor_spans_received_total", "tenant")],
)

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
                ),
                Panel("Up", [Query('sum by (job) (up{job=~"$job"})', "{{job}}")]),
                Panel(
                    "Age",
                    [Query("time() - process_start_time_seconds{SEL}", "{{instance}}")],
                    "s",
                ),
            ],
        ),
        Row(
            "Does anybody notice?",
            [
                Panel(
                    "Refused requests",
                    [Query(_rate("stretto_requests_refused_total", "reason"), "{{reason}}")],
                    "reqps",
                    zero_is_well=True,
                ),
                Panel(
                    "Lag in records",
                    [Query("sum by (app) (stretto_consumer_lag_records{SEL})", "{{app}}")],
                ),
                Panel(
                    "Answers of 5xx",
                    [
                        Query(
                            _rate("stretto_request_duration_seconds_count", "route", 'status_code=~"5.."'),
                            "{{route}}",
                        )
                    ],
                    "reqps",
                    zero_is_well=True,
                ),
                Panel(
                    "Consumers rebuilt",
                    [Query(_rate("stretto_consumer_rebuilds_total", "app, reason"), "{{app}} {{reason}}")],
                    "cps",
                    zero_is_well=True,
                ),
            ],
        ),
    ],
)

DASHBOARDS: Final = (WRITES, READS, RESOURCES, TENANTS, ROLLOUT)
