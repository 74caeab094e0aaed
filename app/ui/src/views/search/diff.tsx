// "What is different?": attributes of some spans against the rest, those that differ most first.
import { useMemo } from "preact/hooks";
import { getJson } from "../../api/client.ts";
import type { MetricsAnswer } from "../../api/types.ts";
import { useQuery } from "../../api/use_query.ts";
import { type Selection, durationLiteral } from "../../charts/grid.ts";
import { Empty, Problem, Progress } from "../../components/basics.tsx";
import { Icon } from "../../components/icon.tsx";
import { whole } from "../../lib/format.ts";
import { setQuery } from "../../router.ts";
import { useDraft } from "../../state/draft.ts";
import { type Range, range } from "../../state/range.ts";
import { addCondition, addSpanOfTrace, isOfRoots, spansOf } from "../../traceql/edit.ts";
import { Depth } from "./depth.tsx";
import { differencesOf } from "./diff_data.ts";
import { DifferencesList } from "./differences_list.tsx";
import { type DiffKind, durationCondition, isDeep, whereText } from "./state.ts";

const VALUES = 100;
const SLOW_SHARE = 0.95;

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
        {rooted && <Depth deep={deep} every="All spans of these traces against all spans of the others" />}
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
  const [draft, setDraft] = useDraft(text);
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
const canBeDeep = (spans: string, kind: DiffKind): boolean => (kind === "marked" || kind === "slow") && isOfRoots(spans);

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
  if (selected === 0) {
    return (
      <Empty icon="spark" title={about === "errors" ? "There are no errors" : "There are no such spans"}>
        <p>Mark another part of the chart, or choose a longer time.</p>
      </Empty>
    );
  }
  const add = (field: string, op: "=" | "!=", literal: string) => {
    const condition = `${field} ${op} ${literal}`;
    // Of another span than the root: the trace must have both.
    const next = deep ? addSpanOfTrace(query, condition) : addCondition(query, condition);
    setQuery({ q: next, mark: null, diff: null });
  };
  return (
    <div class="stack">
      {answer.message && <p class="note">Not everything could be read: {answer.message}</p>}
      <p class="small muted">
        <span class="dot selection" /> {whole(selected)} spans: {about} <span class="dot baseline" /> {whole(others)} others
      </p>
      <DifferencesList differences={differences} sides={["of the selection", "of the rest"]} onAdd={add} />
    </div>
  );
}
