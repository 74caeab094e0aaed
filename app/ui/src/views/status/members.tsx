import { Empty } from "../../components/basics.tsx";
import { ago, whole } from "../../lib/format.ts";
import { LAG_BAD, LAG_WARN } from "./checks.ts";
import type { Listed, Member, Partition } from "./data.ts";

export function Members({ members }: { members: Listed<Member> }) {
  return (
    <section class="card" aria-label="Members">
      <div class="card-head">
        <h2>Members</h2>
        <span class="muted small">{members.rows.length}</span>
      </div>
      {members.rows.length === 0 ? (
        <Empty title="No members are known">{members.message && <p>{members.message}</p>}</Empty>
      ) : (
        <div class="table-frame">
          <table class="table">
            <thead>
              <tr>
                <th>Process</th>
                <th>State</th>
                <th>Targets</th>
                <th>Address</th>
                <th>Started</th>
              </tr>
            </thead>
            <tbody>
              {[...members.rows]
                .sort((a, b) => Number(a.state === "ACTIVE") - Number(b.state === "ACTIVE") || a.id.localeCompare(b.id))
                .map((one) => (
                  <tr key={one.id}>
                    <td class="number">
                      {one.id} {one.this_process && <span class="badge">here</span>}
                      {one.zone && <span class="badge" title="Zone">zone {one.zone}</span>}
                    </td>
                    <td>
                      <span class={one.state === "ACTIVE" ? "badge ok" : "badge warn"}>{one.state.toLowerCase()}</span>
                    </td>
                    <td>{one.targets.join(", ") || "–"}</td>
                    <td class="number">{one.address || "–"}</td>
                    <td class="number muted">{one.registered_timestamp ? ago(Date.parse(one.registered_timestamp)) : ""}</td>
                  </tr>
                ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

export function Partitions({ partitions }: { partitions: Listed<Partition> }) {
  const most = Math.max(1, ...partitions.rows.map((one) => one.lag ?? 0));
  return (
    <section class="card" aria-label="Partitions">
      <div class="card-head">
        <h2>Partitions</h2>
        <span class="muted small">of topic spans, the furthest behind first</span>
      </div>
      {partitions.rows.length === 0 ? (
        <Empty title="No live store has partitions">
          <p>{partitions.message || "Start a live store: its process reads the topic of spans."}</p>
        </Empty>
      ) : (
        <div class="table-frame">
          <table class="table">
            <thead>
              <tr>
                <th class="right">Partition</th>
                <th>Behind</th>
                <th class="right">Read up to</th>
                <th class="right">In blocks up to</th>
                <th>Live store</th>
              </tr>
            </thead>
            <tbody>
              {[...partitions.rows]
                .sort((a, b) => (b.lag ?? 0) - (a.lag ?? 0) || a.id - b.id)
                .map((one) => (
                  <tr key={one.id}>
                    <td class="right number">{one.id}</td>
                    <td class="lag">
                      <span class={`number ${(one.lag ?? 0) > LAG_BAD ? "bad" : ""}`}>{one.lag === undefined ? "–" : whole(one.lag)}</span>
                      <span class="meter" aria-hidden="true">
                        <span class={(one.lag ?? 0) > LAG_WARN ? "bad" : ""} style={{ width: `${((one.lag ?? 0) / most) * 100}%` }} />
                      </span>
                    </td>
                    <td class="right number">{one.next_offset === undefined ? "–" : whole(one.next_offset)}</td>
                    <td class="right number">{one.flushed === undefined ? "–" : whole(one.flushed)}</td>
                    <td class="ellipsis owner" title={one.owner_ids.join(", ")}>
                      {one.owner_ids.join(", ") || "none"}
                    </td>
                  </tr>
                ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
