// Where the time goes, by service or by operation.
import { useMemo, useState } from "preact/hooks";
import { Segments, Service } from "../../../components/basics.tsx";
import { colourOf } from "../../../lib/colours.ts";
import { duration, percent, whole } from "../../../lib/format.ts";
import { quoted } from "../../../lib/traceql_text.ts";
import { setQuery } from "../../../router.ts";
import { isDark } from "../../../state/theme.ts";
import type { Gap } from "../model/gaps.ts";
import { type GroupBy, type Statistic, statistics } from "../model/statistics.ts";
import { nameOf, serviceOf } from "../model/trace.ts";
import type { TraceState } from "../state.ts";

type Column = "service" | "name" | "count" | "errors" | "total" | "self" | "critical" | "average" | "max";
const TEXTS: readonly Column[] = ["service", "name"];

const valueOf = (one: Statistic, column: Column): string | number => (column === "average" ? one.total / one.count : one[column]);

const ROWS_MAX = 500;

export function StatisticsTab({ state }: { state: TraceState }) {
  const [by, setBy] = useState<GroupBy>("operation");
  const [sort, setSort] = useState<{ column: Column; down: boolean }>({ column: "self", down: true });
  const all = useMemo(() => statistics(state.trace, by, state.path.time), [state, by]);
  const rows = useMemo(() => {
    const { column, down } = sort;
    return [...all].sort((a, b) => {
      const [x, y] = [valueOf(a, column), valueOf(b, column)];
      const order = x < y ? -1 : x > y ? 1 : 0;
      return down ? -order : order;
    });
  }, [all, sort]);
  const most = Math.max(...all.map((one) => one.self), 1);
  const sumSelf = all.reduce((sum, one) => sum + one.self, 0) || 1;
  const head = (column: Column, label: string, title: string) => (
    <th
      class={TEXTS.includes(column) ? "" : "right"}
      aria-sort={sort.column === column ? (sort.down ? "descending" : "ascending") : undefined}
      title={title}
    >
      <button type="button" onClick={() => setSort({ column, down: sort.column === column ? !sort.down : !TEXTS.includes(column) })}>
        {label}
        {sort.column === column && <span aria-hidden="true">{sort.down ? " ↓" : " ↑"}</span>}
      </button>
    </th>
  );
  return (
    <div class="tab-scroll" tabIndex={0} role="region" aria-label="Statistics">
      <div class="tab-tools">
        <Segments
          label="Group by"
          value={by}
          choices={[
            { value: "operation", label: "By operation" },
            { value: "service", label: "By service" },
          ]}
          onChange={setBy}
        />
        <span class="faint">Self time: while no child runs. Critical: what would have to be faster for the trace to end sooner.</span>
      </div>
      <table class="table hover st-table">
        <thead>
          <tr>
            {head("service", "Service", "service.name")}
            {by === "operation" && head("name", "Operation", "The span's name")}
            {head("count", "Spans", "Number of spans")}
            {head("errors", "Errors", "Spans with status error")}
            {head("self", "Self time", "Time while no child runs")}
            {head("critical", "Critical", "Time on the critical path")}
            {head("total", "Total", "Sum of durations")}
            {head("average", "Average", "Mean duration")}
            {head("max", "Longest", "Longest duration")}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, ROWS_MAX).map((one) => (
            <tr key={`${one.service}\0${one.name}`}>
              <td>
                <Service name={one.service || "unknown service"} />
              </td>
              {by === "operation" && (
                <td class="st-name">
                  <button type="button" class="link-button" onClick={() => show(one)}>
                    {one.name || "no name"}
                  </button>
                </td>
              )}
              <td class="right number">{whole(one.count)}</td>
              <td class="right number">{one.errors ? <span class="badge bad">{whole(one.errors)}</span> : <span class="faint">0</span>}</td>
              <td class="right number st-self">
                <span class="st-bar" style={{ width: `${(one.self / most) * 100}%`, background: colourOf(one.service, isDark.value) }} />
                {duration(one.self)} <span class="faint">{percent(one.self / sumSelf)}</span>
              </td>
              <td class="right number">{one.critical ? duration(one.critical) : <span class="faint">–</span>}</td>
              <td class="right number">{duration(one.total)}</td>
              <td class="right number">{duration(one.total / one.count)}</td>
              <td class="right number">{duration(one.max)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > ROWS_MAX && (
        <p class="tab-tools faint">
          The first {ROWS_MAX} of {whole(rows.length)}.
        </p>
      )}
      {state.gaps.length > 0 && <Gaps state={state} />}
    </div>
  );
}

function show(one: Statistic): void {
  setQuery({ tab: "", find: `{ resource.service.name = ${quoted(one.service)} && name = ${quoted(one.name)} }` });
}

const GAPS_SHOWN = 20;

function Gaps({ state }: { state: TraceState }) {
  const { trace } = state;
  const between = (gap: Gap): string => {
    if (gap.before < 0) return `before ${nameOf(trace, gap.after)}`;
    return gap.after < 0 ? `after ${nameOf(trace, gap.before)}` : `between ${nameOf(trace, gap.before)} and ${nameOf(trace, gap.after)}`;
  };
  return (
    <section class="st-gaps">
      <h3>Time gaps</h3>
      <p class="faint">While these spans last and none of their children runs: what happens there no span tells.</p>
      <table class="table hover">
        <thead>
          <tr>
            <th class="right">Gap</th>
            <th>Service</th>
            <th>In</th>
            <th>Where</th>
          </tr>
        </thead>
        <tbody>
          {state.gaps.slice(0, GAPS_SHOWN).map((gap) => (
            <tr key={`${gap.row} ${gap.from}`}>
              <td class="right number">{duration(gap.to - gap.from)}</td>
              <td>
                <Service name={serviceOf(trace, gap.row)} />
              </td>
              <td>
                <button
                  type="button"
                  class="link-button"
                  onClick={() => {
                    state.showGaps.value = true;
                    state.select(gap.row);
                    setQuery({ tab: "" });
                  }}
                >
                  {nameOf(trace, gap.row)}
                </button>
              </td>
              <td class="muted">{between(gap)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
