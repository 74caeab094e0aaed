"""Which of Tempo's metrics have a counterpart under their own name, and which have none: a part of docs/metrics.md."""

from collections.abc import Iterable
from typing import Final

PREFIXES: Final = ("tempo_", "tempodb_")

# Ours, although they have Tempo's prefix: Tempo has no metric of that name.
OWN: Final = frozenset(
    f"tempo_metrics_generator_{name}"
    for name in (
        *("collections_failed_total", "journal_bytes", "journal_failures_total", "journal_seconds", "pushes_total"),
        *("processor_service_graphs_unpaired_edges_total", "processor_service_graphs_waiting_edges"),
        *("records_redelivered_total", "registry_label_values_overflowed_total", "registry_overflowed_total"),
        *("remote_write_bytes_total", "remote_write_dropped_requests_total", "remote_write_failures_total"),
        *("remote_write_protocol", "remote_write_pushes_merged_total", "remote_write_queued_bytes"),
        *("remote_write_queued_pushes", "remote_write_requests_total", "remote_write_requests_under_way"),
        "remote_write_seconds",
    )
) | {"tempo_runtime_config_reload_failures_total"}

# Tempo's, and why there is none: what to look at instead.
WITHOUT: Final = {
    "tempo_distributor_attributes_truncated_total": "`stretto_attribute_values_cut_total`; not by tenant and scope, "
    "which would cost a pass over the spans.",
    "tempo_distributor_traces_per_batch, tempo_distributor_kafka_records_per_request": "a batch holds the requests of "
    "many clients: `stretto_receiver_batch_requests`.",
    "tempo_distributor_metrics_generator_pushes_total, …_failures_total": "the metrics generator reads Kafka: "
    '`tempo_ingest_group_partition_lag{group=~".*metrics-generator"}`.',
    "tempo_distributor_forwarder_pushes_total, tempo_distributor_queue_length, …": "by forwarder, not by tenant: "
    "`stretto_forwarder_queue_requests` and its siblings.",
    "tempo_distributor_debug_spans_received_total": "no bound on its labels; `/usage_metrics` counts bytes by "
    "attributes, with a bound.",
    "tempo_distributor_usage_tracker_errors_total": "counting cannot fail here.",
    "tempo_ingester_…, tempo_block_builder_…, tempo_backend_scheduler_…, tempo_backend_worker_…": "there are no such "
    "processes: the live store flushes blocks (`tempo_live_store_local_…`), the compactors share jobs over Kafka "
    "(`stretto_compaction_jobs_total`).",
    "tempo_live_store_live_traces, …_traces_created_total": "a head is not grouped by traces until it is sealed: "
    "`stretto_live_store_head_spans`, `tempo_live_store_live_trace_bytes`.",
    "tempo_live_store_blocks_cut_total": "`tempo_live_store_blocks_completed_total`: what is cut is sealed.",
    "tempo_live_store_query_inspected_bytes_total": "`tempo_query_frontend_bytes_inspected_total` has all that a query "
    "read, live stores included.",
    "tempo_live_store_records_dropped_total": "by reason, not by tenant: `stretto_live_store_records_skipped_total`.",
    "tempo_query_frontend_bytes_processed_per_second": "a sum of rates says nothing; divide "
    "`tempo_query_frontend_bytes_inspected_total` by the time.",
    "tempo_query_frontend_batch_weight, …_actual_batch_size": "jobs are not batched.",
    "tempo_querier_external_endpoint_request_duration_seconds": "there are no external queriers.",
    "tempodb_blocklist_tenant_index_builder, …_index_age_seconds": "nobody builds indexes in turns, and an index is "
    "only written when its blocks change, so its age says nothing. `stretto_blocklist_indexes_damaged`, "
    "`stretto_blocklist_cuts`.",
    "tempodb_compaction_objects_combined_total, …_objects_written_total": "merges count spans: "
    "`stretto_compaction_spans_total`, `stretto_spans_duplicate_total`.",
    "tempodb_compaction_spans_deduped_total": '`stretto_spans_duplicate_total{place="compaction"}`.',
    "tempo_memcache_request_duration_seconds, tempo_rediscache_…, tempo_cache_…": ""
    "`stretto_shared_cache_lookups_total`, `stretto_cache_hits_total`.",
    "tempo_metrics_generator_bytes_received_total": "its records hold several tenants: "
    "`tempo_metrics_generator_spans_received_total`, `tempo_live_store_bytes_received_total`.",
    "tempo_metrics_generator_registry_…_demand_estimate, …_series_limited_total, …": "beyond a limit nothing is "
    "dropped, but counted under one label: `tempo_metrics_generator_registry_overflowed_total`.",
    "tempo_memberlist_client_cluster_node_health_score, …_kv_store_count": "there is no gossip; members announce "
    "themselves over Kafka: `stretto_members`.",
    "tempo_warnings_total, tempo_spans_distance_…": "`tempo_discarded_spans_total`, by reason.",
    "go_…": "`python_…` and `process_…`.",
}


def is_tempos(name: str) -> bool:
    """Whether a metric of ours has the name and meaning of one of Tempo's."""
    return name.startswith(PREFIXES) and name not in OWN


def counterparts_table(names: Iterable[str]) -> str:
    """Both lists as Markdown. names: of all our metrics"""
    same = "\n".join(f"- `{name}`" for name in names if is_tempos(name))
    lines = [
        "## Tempo's names",
        "",
        "These mean what they mean in Tempo:",
        "",
        same,
        "",
        "All others that begin with `tempo_` are Stretto's own. These have no counterpart of their name:",
        "",
        "| In Tempo | Why there is none, and what to look at |",
        "|---|---|",
    ]
    for name, why in WITHOUT.items():
        lines.append(f"| {', '.join(f'`{one}`' for one in name.split(', ') if one != '…')} | {why} |")
    return "\n".join(lines) + "\n"
