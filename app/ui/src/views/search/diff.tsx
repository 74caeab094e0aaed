// "What is different?": attributes of some spans against the rest, those that differ most first.
import { useEffect, useMemo, useState } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { MetricsAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { type Selection, durationLiteral } from "../../charts/grid.ts";
import { Empty, Problem, Progress, Segments } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { percent, whole } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { type Range, range } from "../../state/range.ts";
import { addCondition, pipelineOf, spansOf } from "../../traceql/edit.ts";
import { type Difference, type ValueShare, differencesOf } from "./diff_data.ts";
import { type DiffKind, durationCondition, isDeep, whereText } from "./state.ts";

const VALUES = 100;
const SHOWN_FIRST = 12;
const VALUES_SHOWN = 5;
const SLOW_SHARE = 0.95;
const SCORE_MIN = 0.004;

export function Diff({ query, selection, kind }: { query: string; selection: Selection; kind: DiffKind }) {
  const spans = spansOf(query);
  const whole_ = range.value;
  const rooted = canBeDeep(spans, kind);
  const deep = rooted && isDeep();
  const where = kind === "where" ? whereText() : "";
  const key = kind === "where" && !where ? null : JSON.stringify([spans, kind, selection, whole_, deep, where]);
  const asked = useQuery(key, (signal) => compare({ spans, kind, selection, deep, where }, whole_, signal));
  return (
    <section class="card diff" aria-label="What is different">
      <Progress on={asked.loading} />
      <div class="card-head">
        <h2>What is different?</h2>
        <span class="spacer" />
        {rooted && (
          <Segments<"" | "1">
            label="Which spans are compared"
            value={deep ? "1" : ""}
            choices={[
              { value: "", label: "Root spans", title: "The spans that match" },
              { value: "1", label: "All their spans", title: "All spans of these traces against all spans of the others" },
            ]}
            onChange={(value) => setQuery({ deep: value || null })}
          />
        )}
        <button type="button" class="button plain icon small" aria-label="Close" title="Close (d)" onClick={() => setQuery({ diff: null })}>
          <Icon name="close" />
        </button>
      </div>
      <div class="card-body">
        {kind === "where" && <Where text={where} />}
        {asked.error && <Problem error={asked.error} retry={asked.reload} />}
        {key !== null && !asked.data && !asked.error && <div class="skeleton tall" />}
        {asked.data && <Answer answer={asked.data.answer} about={asked.data.about} query={query} deep={deep} />}
      </div>
    </section>
  );
}

/** Two searches in one: the query, and of its spans those that meet a condition. */
function Where({ text }: { text: string }) {
  const [draft, setDraft] = useState(text);
  useEffect(() => setDraft(text), [text]);
  const submit = (event: Event) => {
    event.preventDefault();
    setQuery({ where: draft.trim().replace(/^\{(.*)\}$/s, "$1").trim() || null });
  };
  return (
    <form class="where" onSubmit={submit}>
      <label class="field">
        <span>Compare those where</span>
        <input
          class="input mono"
          value={draft}
          spellcheck={false}
          placeholder='resource.service.version = "2.0"'
          onInput={(event) => setDraft(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="button">
        Compare
      </button>
    </form>
  );
}

interface Compared {
  answer: MetricsAnswer;
  about: string;
}

interface Comparing {
  spans: string;
  kind: DiffKind;
  selection: Selection;
  /** All spans of the traces, whose roots the query matches. */
  deep: boolean;
  /** A condition of the viewer's own, where `kind` says so. */
  where: string;
}

/** The duration of a root is that of its trace, by which all of the trace's spans can be chosen. Errors are of spans. */
const canBeDeep = (spans: string, kind: DiffKind): boolean => (kind === "marked" || kind === "slow") && /^\{\s*nestedSetParent\s*<\s*0\b/.test(spans) && !spans.includes("||");

async function compare(what: Comparing, asked: Range, signal: AbortSignal): Promise<Compared> {
  const at = { start: asked.fromMs / 1000, end: asked.toMs / 1000 };
  const { condition, times, about } = await chosen(what, at, signal);
  const [spans, selected] = what.deep ? [`${what.spans} &>> { }`, condition.replaceAll("duration", "traceDuration")] : [what.spans, condition];
  const q = `${spans} | compare({ ${selected} }, ${VALUES}${times})`;
  // One step as long as the range: counts, not a course.
  const step = `${Math.ceil(at.end - at.start) + 1}s`;
  const params = { q, ...at, step, exemplars: 0, allow_partial: true };
  return { answer: await getJson<MetricsAnswer>("/api/metrics/query_range", { params, signal }), about };
}

async function chosen({ spans, kind, selection, where }: Comparing, at: { start: number; end: number }, signal: AbortSignal) {
  if (kind === "where") return { condition: where, times: "", about: where };
  if (kind === "errors") return { condition: "status = error", times: "", about: "errors" };
  if (kind === "slow") {
    const params = { q: `${spans} | quantile_over_time(duration, ${SLOW_SHARE})`, ...at, allow_partial: true };
    const found = await getJson<MetricsAnswer>("/api/metrics/query", { params, signal });
    const bound = durationLiteral(Number(found.series?.[0]?.value ?? 0));
    return { condition: `duration >= ${bound}`, times: "", about: `of ${bound} and more` };
  }
  const { fromMs, toMs } = selection;
  const times = fromMs !== undefined && toMs !== undefined ? `, ${inNs(fromMs)}, ${inNs(toMs)}` : "";
  return { condition: durationCondition(selection), times, about: "what is marked" };
}

const inNs = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n;

function Answer({ answer, about, query, deep }: { answer: MetricsAnswer; about: string; query: string; deep: boolean }) {
  const { differences, selected, others } = useMemo(() => differencesOf(answer), [answer]);
  const [all, setAll] = useState(false);
  const telling = differences.filter((one) => one.score >= SCORE_MIN);
  if (selected === 0) {
    return (
      <Empty icon="spark" title={about === "errors" ? "There are no errors" : "There are no such spans"}>
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
          <OneDifference key={one.field} difference={one} query={query} deep={deep} />
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

function OneDifference({ difference, query, deep }: { difference: Difference; query: string; deep: boolean }) {
  return (
    <li class="difference">
      <h3 class="mono ellipsis" title={difference.field}>
        {difference.field}
      </h3>
      <ul>
        {difference.values.slice(0, VALUES_SHOWN).map((value) => (
          <OneValue key={value.literal} field={difference.field} value={value} query={query} deep={deep} />
        ))}
      </ul>
      {difference.values.length > VALUES_SHOWN && <p class="faint small">and {difference.values.length - VALUES_SHOWN} more values</p>}
    </li>
  );
}

function OneValue({ field, value, query, deep }: { field: string; value: ValueShare; query: string; deep: boolean }) {
  const isNil = value.literal === "nil" || value.literal === "";
  const text = isNil ? "not set" : value.text;
  const add = (op: "=" | "!=") => {
    const condition = `${field} ${op} ${isNil ? "nil" : value.literal}`;
    // Of another span than the root: the trace must have both.
    const next = deep ? `${spansOf(query)} && { ${condition} } ${pipelineOf(query)}`.trim() : addCondition(query, condition);
    setQuery({ q: next, mark: null, diff: null });
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
