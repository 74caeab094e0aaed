import { useQuery } from "../../api/use_query.ts";
import { Empty, Problem } from "../../components/basics.tsx";
import { whole } from "../../lib/format.ts";
import { now } from "../../state/range.ts";
import { askText } from "./data.ts";
import type { Metrics } from "./prometheus.ts";

/** The tenants that have blocks, or settings of their own. */
export function Tenants({ metrics }: { metrics: Metrics | undefined }) {
  const asked = useQuery(`tenants ${now.value}`, (signal) => askText("/status/overrides", {}, signal));
  const blocks = new Map((metrics?.samples.get("stretto_compaction_visible_blocks") ?? []).map((one) => [one.labels["tenant"] ?? "", one.value]));
  const outstanding = new Map((metrics?.samples.get("tempodb_compaction_outstanding_blocks") ?? []).map((one) => [one.labels["tenant"] ?? "", one.value]));
  const own = new Set((asked.data ?? "").split("\n").filter(Boolean));
  const names = [...new Set([...blocks.keys(), ...own])].sort();
  return (
    <section class="card" aria-label="Tenants">
      <div class="card-head">
        <h2>Tenants</h2>
        <span class="muted small">with blocks, or with settings of their own</span>
      </div>
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      {names.length === 0 ? (
        <Empty title="None yet">
          <p>A tenant appears with its first block, some minutes after its first spans.</p>
        </Empty>
      ) : (
        <div class="table-frame">
          <table class="table">
            <thead>
              <tr>
                <th>Tenant</th>
                <th class="right">Blocks</th>
                <th class="right">To be merged</th>
                <th>Own settings</th>
              </tr>
            </thead>
            <tbody>
              {names.map((name) => (
                <tr key={name}>
                  <td>{name === "*" ? "all others (*)" : name}</td>
                  <td class="right number">{blocks.has(name) ? whole(blocks.get(name)!) : "–"}</td>
                  <td class="right number">{outstanding.has(name) ? whole(outstanding.get(name)!) : "–"}</td>
                  <td>{own.has(name) ? <span class="badge">yes</span> : ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
