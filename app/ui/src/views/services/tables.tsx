import { useState } from "preact/hooks";
import { Service } from "../../components/basics.tsx";
import { percent, rate, whole } from "../../lib/format.ts";
import { quoted } from "../../lib/traceql_text.ts";
import { range } from "../../state/range.ts";
import { searchUrl } from "../search/state.ts";
import { type ServiceEdge, type ServiceMap, type Stats, shownName } from "./data.ts";
import { ms } from "./map.tsx";

type Column = "requestsPerSecond" | "errorShare" | "p50Ms" | "p95Ms" | "p99Ms";

const COLUMNS: readonly (readonly [Column, string, (stats: Stats) => string])[] = [
  ["requestsPerSecond", "Rate", (stats) => rate(stats.requestsPerSecond)],
  ["errorShare", "Errors", (stats) => percent(stats.errorShare)],
  ["p50Ms", "p50", (stats) => ms(stats.p50Ms)],
  ["p95Ms", "p95", (stats) => ms(stats.p95Ms)],
  ["p99Ms", "p99", (stats) => ms(stats.p99Ms)],
];

export function StatsHeads({ sort, onSort }: { sort: Column; onSort: (column: Column) => void }) {
  return (
    <>
      {COLUMNS.map(([column, text]) => (
        <th key={column} class="right" aria-sort={sort === column ? "descending" : undefined}>
          <button type="button" onClick={() => onSort(column)}>
            {text}
          </button>
        </th>
      ))}
    </>
  );
}

export function StatsCells({ stats }: { stats: Stats }) {
  return (
    <>
      {COLUMNS.map(([column, , text]) => (
        <td key={column} class={column === "errorShare" && stats.errorShare > 0.01 ? "right number bad" : "right number"}>
          {text(stats)}
        </td>
      ))}
    </>
  );
}

export function bySort<T extends Stats>(rows: readonly T[], sort: Column): T[] {
  return [...rows].sort((a, b) => (b[sort] ?? 0) - (a[sort] ?? 0));
}

export function ServiceTable({ map, selected, onSelect }: { map: ServiceMap; selected: string; onSelect: (name: string) => void }) {
  const [sort, setSort] = useState<Column>("requestsPerSecond");
  return (
    <div class="table-frame">
      <table class="table hover">
        <thead>
          <tr>
            <th>Service</th>
            <StatsHeads sort={sort} onSort={setSort} />
            <th class="right">Spans</th>
          </tr>
        </thead>
        <tbody>
          {bySort(map.services, sort).map((one) => (
            <tr key={one.kind + one.name} aria-selected={one.name === selected}>
              <td>
                {one.kind === "service" ? (
                  <button type="button" class="link-button" onClick={() => onSelect(one.name)}>
                    <Service name={shownName(one.name)} />
                  </button>
                ) : (
                  <span>
                    {one.name} <span class="badge">database</span>
                  </span>
                )}
              </td>
              <StatsCells stats={one} />
              <td class="right number muted">{one.spans ? whole(one.spans) : ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Dependencies({ map }: { map: ServiceMap }) {
  const [sort, setSort] = useState<Column>("requestsPerSecond");
  return (
    <div class="table-frame">
      <table class="table hover">
        <thead>
          <tr>
            <th>Caller</th>
            <th>Calls</th>
            <StatsHeads sort={sort} onSort={setSort} />
            <th>
              <span class="visually-hidden">Search</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {bySort(map.edges, sort).map((edge) => (
            <tr key={`${edge.client}/${edge.kind}/${edge.server}`}>
              <td>
                <Service name={shownName(edge.client)} />
              </td>
              <td>{edge.kind === "database" ? <>{edge.server} <span class="badge">database</span></> : <Service name={shownName(edge.server)} />}</td>
              <StatsCells stats={edge} />
              <td class="right">
                <a class="button plain small" href={searchUrl(queryOf(edge), range.value)}>
                  Traces
                </a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function queryOf(edge: ServiceEdge): string {
  const client = `{ resource.service.name = ${quoted(edge.client)} }`;
  if (edge.kind === "service") return `${client} > { resource.service.name = ${quoted(edge.server)} }`;
  const name = quoted(edge.server);
  return `{ resource.service.name = ${quoted(edge.client)} && kind = client && (span.db.system.name = ${name} || span.db.system = ${name}) }`;
}
