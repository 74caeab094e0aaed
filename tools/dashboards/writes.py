"""From receivers to blocks."""

from typing import Final

from tools.dashboards.panels import Dashboard, Panel, Query, Row
from tools.dashboards.queries import RATE, quantiles, rate

WRITES: Final = Dashboard(
    "stretto-writes",
    "Stretto / Writes",
    "From the receivers to blocks: is everything taken, and does it become searchable and stored?",
    [
        Row(
            "Receivers",
            [
                Panel("Spans received", [Query(rate("stretto_spans_received_total"), "spans")], "cps"),
                Panel(
                    "Spans by receiver",
                    [
                        Query(
                            f"sum by (receiver, transport) (rate(tempo_receiver_accepted_spans{{SEL}}[{RATE}]))",
                            "{{receiver}} {{transport}}",
                        )
                    ],
                    "cps",
                    stacked=True,
                ),
                Panel(
                    "Refused requests",
                    [Query(rate("stretto_requests_refused_total", "reason"), "{{reason}}")],
                    "reqps",
                    "Clients send these again. The reason says what is full or away.",
                    zero_is_well=True,
                    alerts=("StrettoRefusesSpans",),
                ),
                Panel(
                    "Discarded spans",
                    [Query(rate("tempo_discarded_spans_total", "reason"), "{{reason}}")],
                    "cps",
                    "These are lost: the client was told, with the reason.",
                    zero_is_well=True,
                    alerts=("StrettoDiscardsSpans", "StrettoTenantLimited"),
                ),
            ],
        ),
        Row(
            "Kafka",
            [
                Panel(
                    "Time until Kafka acknowledges",
                    quantiles("stretto_produce_seconds"),
                    "s",
                    "Clients wait as long as this, and some milliseconds for the batch.",
                    alerts=("StrettoKafkaSlow",),
                ),
                Panel("Bytes written to Kafka", [Query(rate("stretto_record_bytes_produced_total"), "bytes")], "Bps"),
                Panel(
                    "Lag in records",
                    [Query("sum by (app, topic) (stretto_consumer_lag_records{SEL})", "{{app}} {{topic}}")],
                    "short",
                    "Records that a consumer has not read yet. Queries wait for them, or say that they are missing.",
                    alerts=("StrettoConsumerBehind", "StrettoKafkaRetentionNear"),
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
                        Query(rate("stretto_live_store_seal_waits_total"), "waited for a seal"),
                        Query(rate("stretto_live_store_disk_waits_total"), "waited for the disk"),
                        Query(rate("stretto_live_store_failures_total"), "failures"),
                    ],
                    "cps",
                    zero_is_well=True,
                    alerts=("StrettoLiveStoreFails", "StrettoStoppedReading"),
                ),
            ],
        ),
        Row(
            "Blocks",
            [
                Panel("Blocks written", [Query(rate("stretto_blocks_flushed_total"), "blocks")], "cps"),
                Panel("Bytes written", [Query(rate("stretto_block_bytes_flushed_total"), "bytes")], "Bps"),
                Panel(
                    "Failed flushes",
                    [Query(rate("stretto_block_flush_failures_total", "instance"), "{{instance}}")],
                    "cps",
                    "Spans wait on the local disk, then in Kafka. The log says why.",
                    zero_is_well=True,
                    alerts=("StrettoBlocksNotWritten",),
                ),
                Panel(
                    "Storage requests",
                    [Query(rate("stretto_storage_requests_total", "operation, status"), "{{operation}} {{status}}")],
                    "reqps",
                    alerts=("StrettoStorageFails", "StrettoStorageSlow"),
                ),
            ],
        ),
    ],
)
