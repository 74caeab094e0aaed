// One service: requests, errors, durations over time, and each of its operations.
import { useMemo, useState } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { MetricsAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { LineChart } from "../../charts/line_chart.tsx";
import { type Unit, linesOf } from "../../charts/series.ts";
import { Empty, Problem, Progress, Service } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { find, numberOf } from "../../lib/value.ts";
import { quoted } from "../../lib/traceql_text.ts";
import { param, setQuery, url } from "../../router.ts";
import { type Range, range, setRange, stepFor } from "../../state/range.ts";
import { cssColour, isDark } from "../../state/theme.ts";
import { searchUrl } from "../search/state.ts";
import type { Stats } from "./data.ts";
import { StatsCells, StatsHeads, bySort } from "./tables.tsx";

const SAMPLES = 90;

/** Requests are what a service takes; one without any is seen by all of its spans. */
function spansQuery(service: string, operation: string, all: boolean): string {
  const parts = [`resource.service.name = ${quoted(service)}`];
  if (!all) parts.push("(kind = server || kind = consumer)");
  if (operation) parts.push(`name = ${quoted(operation)}`);
  return `{ ${parts.join(" && ")} }`;
}

export function OneService({ service }: { service: string }) {
  const operation = param("operation");
  const operations = useQuery(JSON.stringify([service, range.value]), (signal) => askOperations(service, range.value, signal));
  const spans = spansQuery(service, operation, operations.data?.all ?? false);
  const errors = spans.replace(/ }$/, " && status = error }");
  return (
    <section class="stack one-service" aria-label={`Service ${service}`}>
      <div class="page-head">
        <h2>
          <Service name={service} />
        </h2>
        {operation && (
          <span class="badge">
            {operation}
            <button type="button" class="link-button" aria-label="All operations" onClick={() => setQuery({ operation: null })}>
              <Icon name="close" />
            </button>
          </span>
        )}
        <span class="spacer" />
        <a class="button" href={searchUrl(errors, range.value)}>
          Failed traces
        </a>
        <a class="button" href={searchUrl(spans, range.value)}>
          <Icon name="search" />
          Traces
        </a>
      </div>
      <div class="red">
        <RedChart title="Requests" unit="rate" query={`${spans} | rate()`} colours={["--accent"]} />
        <RedChart title="Errors" unit="rate" query={`${errors} | rate()`} colours={["--danger-fill"]} />
        <RedChart title="Durations: p50, p95, p99" unit="seconds" query={`${spans} | quantile_over_time(duration, .5, .95, .99)`} />
      </div>
      <section class="card" aria-label="Operations">
        <Progress on={operations.loading} />
        <div class="card-head">
          <h3>Operations</h3>
        </div>
        {operations.error && <Problem error={operations.error} retry={operations.reload} />}
        {operations.data && <Operations rows={operations.data.rows} selected={operation} />}
      </section>
    </section>
  );
}

function RedChart(props: { title: string; unit: Unit; query: string; colours?: readonly string[] }) {
  const { fromMs, toMs } = range.value;
  const params = {
    q: props.query,
    start: fromMs / 1000,
    end: toMs / 1000,
    step: `${stepFor(range.value, SAMPLES)}s`,
    exemplars: 25,
    allow_partial: true,
  };
  const asked = useQuery(JSON.stringify(params), (signal) => getJson<MetricsAnswer>("/api/metrics/query_range", { params, signal }));
  const all = useMemo(() => asked.data && linesOf(asked.data, props.unit), [asked.data]);
  const dark = isDark.value;
  const colours = useMemo(() => props.colours?.map(cssColour), [dark]);
  return (
    <section class="card" aria-label={props.title}>
      <Progress on={asked.loading} />
      <div class="card-head">
        <h3>{props.title}</h3>
        <span class="spacer" />
        <a class="small" href={url("/charts", { q: props.query, from: param("from"), to: param("to") })}>
          Open
        </a>
      </div>
      <div class="card-body">
        {asked.error ? (
          <Problem error={asked.error} retry={asked.reload} />
        ) : !all ? (
          <div class="skeleton red-skeleton" />
        ) : all.lines.length === 0 ? (
          <Empty icon="check" title="None in this time" />
        ) : (
          <LineChart
            timesMs={all.timesMs}
            lines={all.lines}
            colours={colours}
            unit={props.unit}
            height={180}
            fromMs={fromMs}
            toMs={toMs}
            label={`${props.title} over time`}
            onRange={(from, to) => setRange(from, to)}
          />
        )}
      </div>
    </section>
  );
}

interface Operation extends Stats {
  name: string;
}

/** all: the service takes no requests, and its operations are of all its spans. */
async function askOperations(service: string, asked: Range, signal: AbortSignal): Promise<{ rows: Operation[]; all: boolean }> {
  const rows = await operationsOf(spansQuery(service, "", false), asked, signal);
  return rows.length ? { rows, all: false } : { rows: await operationsOf(spansQuery(service, "", true), asked, signal), all: true };
}

async function operationsOf(spans: string, { fromMs, toMs }: Range, signal: AbortSignal): Promise<Operation[]> {
  const ask = (q: string) =>
    getJson<MetricsAnswer>("/api/metrics/query", { params: { q, start: fromMs / 1000, end: toMs / 1000, allow_partial: true }, signal });
  const [counts, quantiles] = await Promise.all([
    ask(`${spans} | count_over_time() by (name, status)`),
    ask(`${spans} | quantile_over_time(duration, .5, .95, .99) by (name)`),
  ]);
  const rows = new Map<string, Operation>();
  const seconds = Math.max(1, (toMs - fromMs) / 1000);
  for (const series of counts.series ?? []) {
    const name = find(series.labels, "name");
    const row = rows.get(name) ?? { name, requests: 0, errors: 0, requestsPerSecond: 0, errorShare: 0 };
    rows.set(name, row);
    const count = numberOf(series.value);
    row.requests += count;
    if (find(series.labels, "status") === "error") row.errors += count;
    row.requestsPerSecond = row.requests / seconds;
    row.errorShare = row.errors / row.requests;
  }
  for (const series of quantiles.series ?? []) {
    const row = rows.get(find(series.labels, "name"));
    const key = `p${Math.round(Number(find(series.labels, "p")) * 100)}Ms`;
    if (row) (row as unknown as Record<string, number>)[key] = numberOf(series.value) * 1000;
  }
  return [...rows.values()];
}

function Operations({ rows, selected }: { rows: readonly Operation[]; selected: string }) {
  const [sort, setSort] = useState<Parameters<typeof bySort>[1]>("requestsPerSecond");
  return (
    <div class="table-frame">
      <table class="table hover">
        <thead>
          <tr>
            <th>Operation</th>
            <StatsHeads sort={sort} onSort={setSort} />
          </tr>
        </thead>
        <tbody>
          {bySort(rows, sort).map((row) => (
            <tr key={row.name}>
              <td>
                <button type="button" class="link-button" aria-pressed={row.name === selected} onClick={() => setQuery({ operation: row.name === selected ? null : row.name })}>
                  {row.name || "(no name)"}
                </button>
              </td>
              <StatsCells stats={row} />
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
