// "What is different?": attributes of some spans against the rest, those that differ most first.
import { useMemo, useState } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { MetricsAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { type Selection, durationLiteral } from "../../charts/grid.ts";
import { Empty, Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { percent, whole } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { type Range, range } from "../../state/range.ts";
import { addCondition, spansOf } from "../../traceql/edit.ts";
import { type Difference, type ValueShare, differencesOf } from "./diff_data.ts";
import { type DiffKind, durationCondition } from "./state.ts";

const VALUES = 100;
const SHOWN_FIRST = 12;
const VALUES_SHOWN = 5;
const SLOW_SHARE = 0.95;
const SCORE_MIN = 0.03;

export function Diff({ query, selection, kind }: { query: string; selection: Selection; kind: DiffKind }) {
  const spans = spansOf(query);
  const whole_ = range.value;
  const key = JSON.stringify([spans, kind, selection, whole_]);
  const asked = useQuery(key, (signal) => compare(spans, kind, selection, whole_, signal));
  return (
    <section class="card diff" aria-label="What is different">
      <Progress on={asked.loading} />
      <div class="card-head">
        <h2>What is different?</h2>
        <span class="spacer" />
        <button type="button" class="button plain icon small" aria-label="Close" title="Close (d)" onClick={() => setQuery({ diff: null })}>
          <Icon name="close" />
        </button>
      </div>
      <div class="card-body">
        {asked.error && <Problem error={asked.error} retry={asked.reload} />}
        {!asked.data && !asked.error && <div class="skeleton tall" />}
        {asked.data && <Answer answer={asked.data.answer} about={asked.data.about} query={query} />}
      </div>
    </section>
  );
}

interface Compared {
  answer: MetricsAnswer;
  about: string;
}

async function compare(spans: string, kind: DiffKind, selection: Selection, asked: Range, signal: AbortSignal): Promise<Compared> {
  const at = { start: asked.fromMs / 1000, end: asked.toMs / 1000 };
  const { condition, times, about } = await chosen(spans, kind, selection, at, signal);
  const q = `${spans} | compare({ ${condition} }, ${VALUES}${times})`;
  // One step as long as the range: counts, not a course.
  const step = `${Math.ceil(at.end - at.start) + 1}s`;
  const params = { q, ...at, step, exemplars: 0, allow_partial: true };
  return { answer: await getJson<MetricsAnswer>("/api/metrics/query_range", { params, signal }), about };
}

async function chosen(spans: string, kind: DiffKind, selection: Selection, at: { start: number; end: number }, signal: AbortSignal) {
  if (kind === "errors") return { condition: "status = error", times: "", about: "errors" };
  if (kind === "slow") {
    const params = { q: `${spans} | quantile_over_time(duration, ${SLOW_SHARE})`, ...at, allow_partial: true };
    const found = await getJson<MetricsAnswer>("/api/metrics/query", { params, signal });
    const bound = durationLiteral(Number(found.series?.[0]?.value ?? 0));
    return { condition: `duration >= ${bound}`, times: "", about: `spans of ${bound} and more` };
  }
  const { fromMs, toMs } = selection;
  const times = fromMs !== undefined && toMs !== undefined ? `, ${BigInt(Math.round(fromMs)) * 1_000_000n}, ${BigInt(Math.round(toMs)) * 1_000_000n}` : "";
  return { condition: durationCondition(selection), times, about: "what is marked" };
}

function Answer({ answer, about, query }: { answer: MetricsAnswer; about: string; query: string }) {
  const { differences, selected, others } = useMemo(() => differencesOf(answer), [answer]);
  const [all, setAll] = useState(false);
  const telling = differences.filter((one) => one.score >= SCORE_MIN);
  if (selected === 0) {
    return (
      <Empty icon="spark" title={`There are no ${about === "what is marked" ? "spans in the mark" : about}`}>
        <p>Mark another part of the chart, or choose a longer time.</p>
      </Empty>
    );
  }
  if (telling.length === 0) {
    return (
      <Empty icon="check" title="Nothing stands out">
        <p>No attribute of these spans has other values than that of the rest.</p>
      </Empty>
    );
  }
  return (
    <div class="stack">
      <p class="small muted">
        <span class="dot selection" /> {whole(selected)} spans: {about} <span class="dot baseline" /> {whole(others)} others
      </p>
      <ol class="differences">
        {(all ? telling : telling.slice(0, SHOWN_FIRST)).map((one) => (
          <OneDifference key={one.field} difference={one} query={query} />
        ))}
      </ol>
      {telling.length > SHOWN_FIRST && (
        <button type="button" class="button small" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${telling.length}`}
        </button>
      )}
    </div>
  );
}

function OneDifference({ difference, query }: { difference: Difference; query: string }) {
  return (
    <li class="difference">
      <h3 class="mono ellipsis" title={difference.field}>
        {difference.field}
      </h3>
      <ul>
        {difference.values.slice(0, VALUES_SHOWN).map((value) => (
          <OneValue key={value.text} field={difference.field} value={value} query={query} />
        ))}
      </ul>
      {difference.values.length > VALUES_SHOWN && <p class="faint small">and {difference.values.length - VALUES_SHOWN} more values</p>}
    </li>
  );
}

function OneValue({ field, value, query }: { field: string; value: ValueShare; query: string }) {
  const isNil = value.literal === "nil" || value.literal === "";
  const text = isNil ? "not set" : value.text;
  const add = (op: "=" | "!=") => {
    const condition = `${field} ${op} ${isNil ? "nil" : value.literal}`;
    setQuery({ q: addCondition(query, condition), mark: null, diff: null });
  };
  const shares = `${percent(value.selection)} of the selection, ${percent(value.baseline)} of the rest`;
  return (
    <li class="value">
      <button type="button" class="value-add" title={`Add ${field} = ${text}\n${shares}`} onClick={() => add("=")}>
        <span class={isNil ? "value-text faint" : "value-text"}>{text}</span>
        <span class="bars" aria-hidden="true">
          <span class="bar selection" style={{ width: `${value.selection * 100}%` }} />
          <span class="bar baseline" style={{ width: `${value.baseline * 100}%` }} />
        </span>
        <span class="shares number">
          <span>{percent(value.selection)}</span>
          <span class="faint">{percent(value.baseline)}</span>
        </span>
        <span class="visually-hidden">{shares}; adds the condition</span>
      </button>
      <button type="button" class="button plain icon small" title={`Exclude ${text}`} aria-label={`Exclude ${field} = ${text}`} onClick={() => add("!=")}>
        <Icon name="minus" />
      </button>
    </li>
  );
}
