// The heatmap of what the query matches, and what can be done with a mark on it.
import { useMemo } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { MetricsAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { type Selection, gridOf, smallPart } from "../../charts/grid.ts";
import { Heatmap } from "../../charts/heatmap.tsx";
import { Empty, Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { clock, duration, whole } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { range, setRange, stepFor } from "../../state/range.ts";
import { spansOf } from "../../traceql/edit.ts";
import { type DiffKind, diffKind, isMarked, narrowed, setMark } from "./state.ts";

const COLUMNS = 120;
const SMALL_SHARE = 0.3;

export function Overview({ query, selection }: { query: string; selection: Selection }) {
  const { fromMs, toMs } = range.value;
  const stepS = stepFor(range.value, COLUMNS);
  const spans = spansOf(query);
  const params = {
    q: `${spans} | histogram_over_time(duration)`,
    start: fromMs / 1000,
    end: toMs / 1000,
    step: `${stepS}s`,
    exemplars: 0,
    allow_partial: true,
  };
  const asked = useQuery(JSON.stringify(params), (signal) => getJson<MetricsAnswer>("/api/metrics/query_range", { params, signal }));
  const grid = useMemo(() => asked.data && gridOf(asked.data, fromMs, toMs, stepS * 1000), [asked.data]);
  const part = useMemo(() => grid && smallPart(grid, SMALL_SHARE), [grid]);
  return (
    <section class="card" aria-label="Durations over time">
      <Progress on={asked.loading} />
      <div class="card-head">
        <h2>Durations over time</h2>
        {grid && <span class="muted small">{whole(grid.total)} spans match</span>}
        {part && (
          <button type="button" class="button small" onClick={() => setRange(part.fromMs, part.toMs)}>
            Zoom to them
          </button>
        )}
        <span class="spacer" />
        <MarkTools query={query} selection={selection} />
      </div>
      <div class="card-body overview-body">
        {asked.error ? (
          <Problem error={asked.error} retry={asked.reload} />
        ) : !grid ? (
          <div class="skeleton heatmap" />
        ) : grid.total === 0 ? (
          <Empty icon="chart" title="No spans match in this time">
            <p>Try a longer time range, or fewer conditions.</p>
          </Empty>
        ) : (
          <Heatmap grid={grid} selection={selection} onSelect={setMark} label={`${whole(grid.total)} spans by duration and time`} />
        )}
      </div>
    </section>
  );
}

const DIFFS: readonly (readonly [Exclude<DiffKind, "marked">, string])[] = [
  ["errors", "errors"],
  ["slow", "the slowest 5%"],
  ["where", "spans that …"],
];

function MarkTools({ query, selection }: { query: string; selection: Selection }) {
  const kind = diffKind();
  if (!isMarked(selection)) {
    return (
      <div class="row">
        <span class="faint small">Drag over the chart to mark, or see what is different about</span>
        {DIFFS.map(([value, label]) => (
          <button
            key={value}
            type="button"
            class="button small"
            aria-pressed={kind === value}
            onClick={() => setQuery({ diff: kind === value ? null : value })}
          >
            {label}
          </button>
        ))}
      </div>
    );
  }
  const narrow = () => {
    const next = narrowed(query, selection, range.value);
    setQuery({ q: next.query, from: Math.floor(next.range.fromMs), to: Math.ceil(next.range.toMs), mark: null, diff: null });
  };
  return (
    <div class="row">
      <span class="badge marked">{markText(selection)}</span>
      <button type="button" class="button small primary" aria-pressed={kind === "marked"} onClick={() => setQuery({ diff: kind === "marked" ? null : "marked" })}>
        <Icon name="spark" />
        What is different?
      </button>
      <button type="button" class="button small" onClick={narrow}>
        Narrow to it
      </button>
      <button type="button" class="button plain icon small" aria-label="Clear the mark" title="Clear the mark (x)" onClick={() => setMark(null)}>
        <Icon name="close" />
      </button>
    </div>
  );
}

function markText({ fromMs, toMs, minS, maxS }: Selection): string {
  const parts: string[] = [];
  if (fromMs !== undefined && toMs !== undefined) parts.push(`${clock(fromMs)} – ${clock(toMs)}`);
  if (minS !== undefined && maxS !== undefined) parts.push(`${duration(minS * 1e9)} – ${duration(maxS * 1e9)}`);
  else if (minS !== undefined) parts.push(`over ${duration(minS * 1e9)}`);
  else if (maxS !== undefined) parts.push(`under ${duration(maxS * 1e9)}`);
  return parts.join(", ");
}
