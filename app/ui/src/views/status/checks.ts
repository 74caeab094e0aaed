// What is unhealthy, the worst first, and what to do about it.
import type { Overview } from "./data.ts";
import { parts, total } from "./prometheus.ts";

export type Severity = "bad" | "warn";

export interface Finding {
  severity: Severity;
  title: string;
  detail: string;
  todo: string;
}

interface MetricRule {
  metric: string;
  severity: Severity;
  title: string;
  todo: string;
}

const FULL = "Ask for less, send less at once, or raise the setting that the server's answer names.";

const RULES: readonly MetricRule[] = [
  { metric: "stretto_live_store_offset_gaps_total", severity: "bad", title: "Kafka deleted records before they were read", todo: "Raise the topic's retention (kafka.retention_s), and find out why the live store was away so long." },
  { metric: "stretto_blocks_damaged", severity: "bad", title: "Blocks are missing or damaged", todo: "/ready names them. Restore their objects in storage, or delete the blocks: stretto blocks (docs/storage.md)." },
  { metric: "stretto_blocklist_indexes_damaged", severity: "bad", title: "Indexes of tenants cannot be read", todo: "Restore the index objects in storage (docs/storage.md). Until then nothing of these tenants is compacted." },
  { metric: "stretto_cuts_damaged", severity: "bad", title: "Cuts of partitions are missing or damaged", todo: "Restore their objects in storage (docs/storage.md)." },
  { metric: "stretto_missing_blocks", severity: "bad", title: "Objects of blocks are missing", todo: "Restore them, or find out who deleted them: rules of the bucket often do." },
  { metric: "stretto_live_store_records_skipped_total", severity: "bad", title: "Records of topic spans could not be read", todo: "The log names them. An older build may be reading what a newer one wrote." },
  { metric: "stretto_block_flush_failures_total", severity: "warn", title: "Flushes to storage have failed", todo: "They are tried again. Look at the storage and at the log." },
  { metric: "stretto_live_store_failures_total", severity: "warn", title: "The live store could not write or load", todo: "It tries again. Look at the local disk and at the log." },
  { metric: "stretto_compaction_job_failures_total", severity: "warn", title: "Merges of blocks have failed", todo: "Most are repeated. Look at the log of the compactors." },
  { metric: "tempodb_compaction_errors_total", severity: "warn", title: "The leader of the compactors has had failures", todo: "Look at the storage, at Kafka, and at the log." },
  { metric: "tempodb_retention_errors_total", severity: "warn", title: "Deletions in storage have failed", todo: "They are tried again. The credentials may not allow to delete." },
  { metric: "stretto_kafka_silent_total", severity: "warn", title: "Kafka has not answered at times", todo: "Look at the brokers and at the network." },
  { metric: "stretto_spans_discarded_total", severity: "warn", title: "Spans were left out of requests", todo: "See the reasons; docs/receivers.md says what each means." },
  { metric: "stretto_requests_refused_total", severity: "warn", title: "Requests with spans were refused", todo: "Clients send them again. If it goes on: more processes, or a faster Kafka." },
  { metric: "stretto_receiver_input_refused_total", severity: "warn", title: "The memory for requests was used up", todo: "Raise distributor.input.bytes_max, or let clients send less at once." },
  { metric: "stretto_receiver_bodies_refused_total", severity: "warn", title: "Request bodies were refused", todo: "See the limits; docs/receivers.md says what each means." },
  { metric: "stretto_receiver_datagrams_dropped_total", severity: "warn", title: "Datagrams were lost", todo: "Use OTLP over gRPC or HTTP: UDP loses what is too much." },
  { metric: "stretto_queries_refused_total", severity: "warn", title: "Queries were refused: too many at once", todo: "Raise query.concurrent_max if the machine has CPUs left." },
  { metric: "stretto_query_memory_refused_total", severity: "warn", title: "Queries needed more memory than they may have", todo: FULL },
  { metric: "stretto_http_connections_limited_total", severity: "warn", title: "Connections were closed because of a limit", todo: "See the limits; docs/api.md says what each means." },
  { metric: "tempo_runtime_config_reload_failures_total", severity: "warn", title: "The file of tenants' settings could not be loaded", todo: "The log says what is wrong with it. The last good one stays in use." },
];

/** Records a partition may be behind before somebody should look. */
export const LAG_WARN = 1_000;
export const LAG_BAD = 10_000;

export function findings(overview: Overview): Finding[] {
  const found: Finding[] = [...ofReadiness(overview), ...ofMembers(overview), ...ofPartitions(overview)];
  for (const rule of RULES) {
    const value = overview.metrics && total(overview.metrics, rule.metric);
    if (!value) continue;
    const why = overview.metrics!.help.get(rule.metric) ?? "";
    const which = parts(overview.metrics!, rule.metric);
    found.push({ ...rule, detail: `${value.toLocaleString("en-US")} since this process started${which ? ` (${which})` : ""}. ${why}` });
  }
  return found.sort((a, b) => Number(b.severity === "bad") - Number(a.severity === "bad"));
}

function ofReadiness({ ready }: Overview): Finding[] {
  const lines = ready.text.split("\n").filter((line) => line && line !== "ready");
  return lines.map((line) =>
    line.startsWith("damaged:")
      ? { severity: "bad", title: "Stored data is damaged", detail: line.slice(8).trim(), todo: "The rest is served. Restore the objects from a backup (docs/storage.md)." }
      : { severity: "bad", title: "This process does not serve yet", detail: line, todo: "After a start that is normal for some seconds. Else look at Kafka and at the log." },
  );
}

function ofMembers({ members }: Overview): Finding[] {
  if (members.message) {
    return [{ severity: "warn", title: "Not all members are known", detail: members.message, todo: "Look at Kafka: processes announce themselves on a topic." }];
  }
  return members.rows
    .filter((one) => one.state !== "ACTIVE")
    .map((one) => ({
      severity: "warn" as const,
      title: `A process is ${one.state.toLowerCase()}: ${one.targets.join(", ")}`,
      detail: one.id,
      todo:
        one.state === "UNHEALTHY"
          ? "It has not been heard of for some seconds. Is it running, and does it reach Kafka? It is forgotten after a while."
          : "After a start or a stop that is normal for some seconds.",
    }));
}

function ofPartitions({ partitions }: Overview): Finding[] {
  return partitions.rows
    .filter((one) => (one.lag ?? 0) > LAG_WARN)
    .map((one) => ({
      severity: (one.lag ?? 0) > LAG_BAD ? ("bad" as const) : ("warn" as const),
      title: `Partition ${one.id} is ${one.lag!.toLocaleString("en-US")} records behind`,
      detail: "Spans of these records cannot be found yet. Nothing is lost: they are in Kafka.",
      todo: "Wait after a restart. If the lag grows, the live store needs more CPU, or more processes and partitions.",
    }));
}
