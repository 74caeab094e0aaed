"""What each tenant sends and costs."""

from typing import Final

from tools.dashboards.panels import Dashboard, Panel, Query, Row, label_variable
from tools.dashboards.queries import rate

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
                            rate("tempo_distributor_spans_received_total", "tenant", 'tenant=~"$tenant"'), "{{tenant}}"
                        )
                    ],
                    "cps",
                    stacked=True,
                ),
                Panel(
                    "Bytes",
                    [
                        Query(
                            rate("tempo_distributor_bytes_received_total", "tenant", 'tenant=~"$tenant"'), "{{tenant}}"
                        )
                    ],
                    "Bps",
                    stacked=True,
                ),
                Panel(
                    "Discarded spans",
                    [
                        Query(
                            rate("tempo_discarded_spans_total", "tenant, reason", 'tenant=~"$tenant"'),
                            "{{tenant}} {{reason}}",
                        )
                    ],
                    "cps",
                    zero_is_well=True,
                    alerts=("StrettoTenantLimited",),
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
                            rate("tempo_metrics_generator_registry_overflowed_total", "tenant", 'tenant=~"$tenant"'),
                            "{{tenant}}",
                        )
                    ],
                    "cps",
                    "The limit of series is reached: raise it, or drop a dimension.",
                    alerts=("MetricsGeneratorSeriesLimit",),
                ),
                Panel(
                    "Failed pushes",
                    [
                        Query(
                            rate(
                                "tempo_metrics_generator_remote_write_failures_total",
                                "tenant, target",
                                'tenant=~"$tenant"',
                            ),
                            "{{tenant}} {{target}}",
                        )
                    ],
                    "cps",
                    zero_is_well=True,
                    alerts=("MetricsGeneratorPushesFail",),
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
                    alerts=("CompactionBehind",),
                ),
            ],
        ),
    ],
    [label_variable("tenant", "tempo_distributor_spans_received_total", "tenant")],
)
