// Metrics: any TraceQL metrics query as lines, bars, heatmap or table.
import { useEffect, useMemo } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { MetricsAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { gridOf } from "../../charts/grid.ts";
import { Heatmap } from "../../charts/heatmap.tsx";
import { LineChart } from "../../charts/line_chart.tsx";
import { linesOf, unitOf } from "../../charts/series.ts";
import { Empty, Problem, Progress, Segments } from "../../components/basics.tsx";
import { Editor, focusEditor } from "../../components/editor.tsx";
import { Icon } from "../../components/icon.tsx";
import { RangePicker } from "../../components/range_picker.tsx";
import { VisitsMenu } from "../../components/visits_menu.tsx";
import { param, setQuery, url } from "../../router.ts";
import { useDraft } from "../../state/draft.ts";
import { type Shortcut, useShortcuts } from "../../state/keys.ts";
import { now, range, refresh, setRange, stepFor } from "../../state/range.ts";
import { noteVisit } from "../../state/visits.ts";
import { placeOf } from "../../traceql/error.ts";
import { searchUrl } from "../search/state.ts";
import { EXAMPLES } from "./examples.ts";
import { SeriesTable } from "./series_table.tsx";

type Kind = "lines" | "bars" | "heatmap" | "table";
const KINDS: readonly Kind[] = ["lines", "bars", "heatmap", "table"];
const LINES_MAX = 40;
const SAMPLES = 180;
const STEPS = ["1s", "5s", "15s", "30s", "1m", "5m", "15m", "1h"];

export default function Metrics() {
  const query = param("q");
  const [draft, setDraft] = useDraft(query);
  useEffect(() => {
    if (query) noteVisit("metrics", url("/charts", { q: query, from: param("from"), to: param("to") }), query);
  }, [query]);
  const run = () => {
    now.value = Date.now();
    setQuery({ q: draft.trim() || null });
  };
  const shortcuts = useMemo<Shortcut[]>(
    () => [
      { keys: "/", what: "Write a query", run: () => focusEditor() },
      { keys: "r", what: "Ask again", run: refresh },
    ],
    [],
  );
  useShortcuts("Metrics", shortcuts);
  const { fromMs, toMs } = range.value;
  const step = param("step") || `${stepFor(range.value, SAMPLES)}s`;
  const params = { q: query, start: fromMs / 1000, end: toMs / 1000, step, exemplars: 60, allow_partial: true };
  const asked = useQuery(query ? JSON.stringify(params) : null, (signal) =>
    getJson<MetricsAnswer>("/api/metrics/query_range", { params, signal }),
  );
  const error = useMemo(() => (asked.error ? placeOf(asked.error.message, query) : undefined), [asked.error]);
  return (
    <>
      <h1 class="visually-hidden">Metrics</h1>
      <section class="card query-bar" aria-label="Query">
        <div class="query-tools">
          <Segments<Kind>
            label="How to show it"
            value={kindOf(query)}
            choices={KINDS.map((value) => ({ value, label: value[0]!.toUpperCase() + value.slice(1) }))}
            onChange={(value) => setQuery({ show: value })}
          />
          <span class="spacer" />
          <label class="row small muted">
            Step
            <select class="select" value={param("step")} onChange={(event) => setQuery({ step: event.currentTarget.value || null })}>
              <option value="">{`Auto (${stepFor(range.value, SAMPLES)}s)`}</option>
              {STEPS.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
          <VisitsMenu kinds={["metrics"]} />
          <RangePicker />
          <button type="button" class="button icon" title="Ask again (r)" aria-label="Ask again" onClick={refresh}>
            <Icon name="reload" />
          </button>
        </div>
        <div class={error && draft === query ? "query-line wrong" : "query-line"}>
          <Editor
            label="TraceQL metrics query"
            value={draft}
            hint="{ … } | rate() by (resource.service.name)"
            error={draft === query ? error : undefined}
            onChange={setDraft}
            onRun={run}
          />
          <button type="button" class="button primary" onClick={run}>
            <Icon name="chart" />
            Show
          </button>
        </div>
        <Progress on={asked.loading} />
      </section>
      {asked.error && <Problem error={asked.error} retry={asked.reload} />}
      {!query && <Examples />}
      {query && !asked.error && (asked.data ? <Shown answer={asked.data} query={query} stepMs={stepMs(step)} /> : <div class="skeleton tall" />)}
    </>
  );
}

/** What the URL says, else what fits the query. */
function kindOf(query: string): Kind {
  const asked = param("show");
  return KINDS.find((kind) => kind === asked) ?? (query.includes("histogram_over_time") ? "heatmap" : query.includes("compare(") ? "table" : "lines");
}

function stepMs(step: string): number {
  const found = /^(\d+)([smh])$/.exec(step)!;
  return Number(found[1]) * { s: 1e3, m: 60e3, h: 3600e3 }[found[2] as "s" | "m" | "h"];
}

function Shown({ answer, query, stepMs: step }: { answer: MetricsAnswer; query: string; stepMs: number }) {
  const kind = kindOf(query);
  const unit = unitOf(query);
  const { fromMs, toMs } = range.value;
  const all = useMemo(() => linesOf(answer, unit), [answer, unit]);
  const shown = useMemo(() => {
    const size = (values: readonly (number | null)[]) => Math.max(...values.map((one) => one ?? 0));
    return [...all.lines].sort((a, b) => size(b.values) - size(a.values)).slice(0, LINES_MAX);
  }, [all]);
  const grid = useMemo(() => (kind === "heatmap" ? gridOf(answer, fromMs, toMs, step) : undefined), [answer, kind, step]);
  if (all.lines.length === 0) {
    return (
      <Empty icon="chart" title="No spans match in this time">
        <p>Try a longer time range, or fewer conditions.</p>
      </Empty>
    );
  }
  return (
    <>
      {answer.message && <p class="note">Not everything could be read: {answer.message}</p>}
      {kind !== "table" && (
        <section class="card chart-card" aria-label="Chart">
          {grid ? (
            grid.total > 0 ? (
              <Heatmap
                grid={grid}
                selection={{}}
                label="Values over time"
                onSelect={(mark) => mark?.fromMs !== undefined && setRange(mark.fromMs, mark.toMs!)}
              />
            ) : (
              <Empty icon="chart" title="A heatmap needs histogram_over_time">
                <p class="mono">{"{ … } | histogram_over_time(duration)"}</p>
              </Empty>
            )
          ) : (
            <LineChart
              timesMs={all.timesMs}
              lines={shown}
              unit={unit}
              bars={kind === "bars"}
              height={340}
              fromMs={fromMs}
              toMs={toMs}
              label={`${all.lines.length} series of ${query}`}
              onRange={(from, to) => setRange(from, to)}
            />
          )}
        </section>
      )}
      {!grid && <SeriesTable lines={all.lines} shown={shown} unit={unit} linkOf={(conditions) => searchUrl(conditions, range.value)} query={query} />}
    </>
  );
}

function Examples() {
  return (
    <section class="card" aria-label="Examples">
      <div class="card-head">
        <h2>Ask for metrics of spans</h2>
        <span class="muted small">made of the spans themselves, when you ask: no need to decide before what to measure</span>
      </div>
      <ul class="examples">
        {EXAMPLES.map(([what, query]) => (
          <li key={query}>
            <a href={url("/charts", { q: query, from: param("from"), to: param("to") })}>
              <strong>{what}</strong>
              <code>{query}</code>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
