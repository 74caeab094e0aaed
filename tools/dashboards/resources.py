"""Processor, memory, event loops, compaction."""

from typing import Final

from tools.dashboards.panels import Dashboard, Panel, Query, Row
from tools.dashboards.queries import rate

RESOURCES: Final = Dashboard(
    "stretto-resources",
    "Stretto / Resources",
    "Processor, memory and event loops of all processes; compaction.",
    [
        Row(
            "Processes",
            [
                Panel("CPU", [Query(rate("process_cpu_seconds_total", "instance"), "{{instance}}")], "short"),
                Panel("Memory", [Query("process_resident_memory_bytes{SEL}", "{{instance}}")], "bytes"),
                Panel("Open files", [Query("process_open_fds{SEL}", "{{instance}}")], alerts=("StrettoOpenFiles",)),
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
                            + rate("stretto_event_loop_stall_seconds_bucket", "le, instance")
                            + ")",
                            "{{instance}}",
                        )
                    ],
                    "s",
                    "Above 100 ms acknowledgements and answers are late: the next panels say why.",
                    alerts=("StrettoEventLoopStalls",),
                ),
                Panel(
                    "Share of time that it waits for a CPU",
                    [Query(rate("stretto_event_loop_cpu_wait_seconds_sum", "instance"), "{{instance}}")],
                    "percentunit",
                    "The machine is too small, or something else uses it.",
                ),
                Panel(
                    "Share of time that it waits for the GIL",
                    [Query(rate("stretto_event_loop_gil_wait_seconds_sum", "instance"), "{{instance}}")],
                    "percentunit",
                    "Queries and merges in the same process take it: give them processes of their own.",
                ),
                Panel(
                    "Share of time in which nothing of the process runs",
                    [Query(rate("stretto_event_loop_other_wait_seconds_sum", "instance"), "{{instance}}")],
                    "percentunit",
                    "Threads with the GIL wait for a CPU, a disk or memory, or the host takes the CPUs away.",
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
                    alerts=("CompactionBehind", "CompactionHasNoLeader"),
                ),
                Panel(
                    "Failures",
                    [
                        Query(rate("stretto_compaction_job_failures_total"), "jobs"),
                        Query(rate("tempodb_retention_errors_total"), "retention"),
                    ],
                    "cps",
                    zero_is_well=True,
                    alerts=("CompactionFails", "CompactionLeaderFails", "RetentionFails"),
                ),
                Panel(
                    "Deleted by retention",
                    [Query(rate("tempodb_retention_deleted_total"), "blocks")],
                    "cps",
                    alerts=("RetentionNotRunning",),
                ),
            ],
        ),
    ],
)
