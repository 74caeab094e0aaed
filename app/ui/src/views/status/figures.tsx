// The figures that tell how the process fares, in groups; what each is the server's own metrics say.
import { bytes, count, whole } from "../../lib/format.ts";
import { type Metrics, total } from "./prometheus.ts";

type Shown = "count" | "bytes" | "whole";
type Figure = readonly [metric: string, label: string, shown: Shown];

const GROUPS: readonly (readonly [string, readonly Figure[]])[] = [
  [
    "Spans in",
    [
      ["stretto_spans_received_total", "Received", "count"],
      ["stretto_spans_accepted_total", "Acknowledged by Kafka", "count"],
      ["stretto_live_store_spans_appended_total", "Searchable", "count"],
      ["stretto_spans_duplicate_total", "Sent twice", "count"],
      ["stretto_receiver_in_flight_bytes", "On their way to Kafka", "bytes"],
    ],
  ],
  [
    "Live store",
    [
      ["stretto_live_store_head_spans", "In open heads", "count"],
      ["stretto_live_store_pending_spans", "Wait to be sealed", "count"],
      ["stretto_live_store_segment_bytes", "Segments not in blocks", "bytes"],
      ["stretto_live_store_local_copy_bytes", "Local copies of blocks", "bytes"],
    ],
  ],
  [
    "Blocks and compaction",
    [
      ["stretto_blocklist_blocks", "Visible blocks", "whole"],
      ["stretto_blocks_flushed_total", "Flushed", "whole"],
      ["stretto_block_bytes_flushed_total", "Bytes flushed", "bytes"],
      ["stretto_compaction_jobs_queued", "Merges that wait", "whole"],
      ["stretto_compaction_jobs_running", "Merges that run here", "whole"],
      ["tempodb_retention_deleted_total", "Deleted: merged or too old", "whole"],
    ],
  ],
  [
    "Queries",
    [
      ["stretto_queries_running", "Running", "whole"],
      ["stretto_query_memory_bytes", "Memory reserved", "bytes"],
      ["stretto_queries_cancelled_total", "Cancelled or failed", "whole"],
      ["stretto_queries_refused_total", "Refused: too many", "whole"],
      ["stretto_query_memory_refused_total", "Refused: memory", "whole"],
    ],
  ],
];

const text = (value: number, shown: Shown): string => (shown === "bytes" ? bytes(Math.round(value)) : shown === "whole" ? whole(value) : count(value));

export function Figures({ metrics }: { metrics: Metrics }) {
  return (
    <section class="card figures" aria-label="Figures">
      {GROUPS.map(([title, figures]) => {
        const known = figures.filter(([metric]) => total(metrics, metric) !== undefined);
        return (
          known.length > 0 && (
            <div key={title} class="figure-group">
              <h2>{title}</h2>
              <dl>
                {known.map(([metric, label, shown]) => (
                  <div key={metric} title={`${metrics.help.get(metric) ?? ""}\n${metric}`}>
                    <dt>{label}</dt>
                    <dd class="number">{text(total(metrics, metric)!, shown)}</dd>
                  </div>
                ))}
              </dl>
            </div>
          )
        );
      })}
    </section>
  );
}
