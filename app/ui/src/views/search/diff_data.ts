// What is different: counts of compare({ … }) as attributes, ranked by how much they differ.
import type { AnyValue, MetricsAnswer } from "../../api/types.ts";
import { quoted } from "../../lib/traceql_text.ts";
import { find, numberOf, valueText } from "../../lib/value.ts";

export interface ValueShare {
  text: string;
  /** As TraceQL writes it; "" for spans without the attribute. */
  literal: string;
  selection: number;
  baseline: number;
}

export interface Difference {
  /** As TraceQL writes it. */
  field: string;
  /** How far apart the values are spread: Jensen and Shannon's divergence, 0 to 1, less what chance makes. */
  score: number;
  values: ValueShare[];
}

export interface Differences {
  differences: Difference[];
  /** Spans that are compared. */
  selected: number;
  others: number;
}

const META = "__meta_type";
const KEYWORD_FIELDS = new Set(["status", "kind", "span:status", "span:kind"]);

interface Counts {
  selection: Map<string, { value: AnyValue | undefined; count: number }>;
  baseline: Map<string, { value: AnyValue | undefined; count: number }>;
  selectionTotal: number;
  baselineTotal: number;
}

/** answer: of compare(), whose samples are added up where there are several. */
export function differencesOf(answer: MetricsAnswer): Differences {
  const fields = new Map<string, Counts>();
  for (const series of answer.series ?? []) {
    const type = find(series.labels, META);
    const label = series.labels?.find((one) => !one.key.startsWith("__"));
    if (!label || find(series.labels, "__meta_error")) continue;
    const counts = fields.get(label.key) ?? { selection: new Map(), baseline: new Map(), selectionTotal: 0, baselineTotal: 0 };
    fields.set(label.key, counts);
    const sum = series.samples ? series.samples.reduce((all, one) => all + numberOf(one.value), 0) : numberOf(series.value);
    if (type === "selection_total") counts.selectionTotal += sum;
    else if (type === "baseline_total") counts.baselineTotal += sum;
    else if (type === "selection" || type === "baseline") {
      const key = JSON.stringify(label.value ?? null);
      const before = counts[type].get(key)?.count ?? 0;
      counts[type].set(key, { value: label.value, count: before + sum });
    }
  }
  const all = [...fields.values()];
  const selected = Math.max(0, ...all.map((one) => one.selectionTotal));
  const others = Math.max(0, ...all.map((one) => one.baselineTotal));
  const differences = [...fields].map(([field, counts]) => difference(field, counts, selected, others));
  differences.sort((a, b) => b.score - a.score || a.field.localeCompare(b.field));
  return { differences, selected, others };
}

function difference(field: string, counts: Counts, selected: number, others: number): Difference {
  const keys = new Set([...counts.selection.keys(), ...counts.baseline.keys()]);
  const values = [...keys].map((key) => {
    const [one, other] = [counts.selection.get(key), counts.baseline.get(key)];
    const value = (one ?? other)!.value;
    return {
      text: valueText(value),
      literal: literalOf(field, value),
      selection: share(one?.count ?? 0, selected),
      baseline: share(other?.count ?? 0, others),
    };
  });
  const absent = {
    text: "",
    literal: "",
    selection: share(selected - counts.selectionTotal, selected),
    baseline: share(others - counts.baselineTotal, others),
  };
  if (absent.selection > 0 || absent.baseline > 0) values.push(absent);
  // Ids differ in every span, which says nothing: a value counts once several spans have it.
  const enough = Math.min(SPANS_MIN, Math.max(1, selected));
  const weight = (one: ValueShare) => (one.selection * selected + one.baseline * others >= enough - 0.5 ? divergence(one) : 0);
  values.sort((a, b) => weight(b) - weight(a) || b.selection - a.selection);
  const sum = values.reduce((all, one) => all + weight(one), 0);
  return { field, score: Math.max(0, sum - chance(values.length, selected, others)), values };
}

const SPANS_MIN = 5;

/** What one value adds. A value that only one side has counts more than the same gap between two frequent ones. */
function divergence({ selection, baseline }: ValueShare): number {
  const mean = (selection + baseline) / 2;
  const part = (share: number) => (share > 0 ? share * Math.log2(share / mean) : 0);
  return (part(selection) + part(baseline)) / 2;
}

/** The divergence that two samples of the same values have on average: many values of few spans always differ. */
function chance(values: number, selected: number, others: number): number {
  if (selected === 0 || others === 0) return 0;
  return ((values - 1) / (8 * Math.LN2)) * (1 / selected + 1 / others);
}

const share = (part: number, whole: number): number => (whole > 0 ? Math.max(0, part / whole) : 0);

function literalOf(field: string, value: AnyValue | undefined): string {
  if (!value) return "";
  if (value.stringValue === undefined) return valueText(value);
  if (KEYWORD_FIELDS.has(field)) return value.stringValue;
  return value.stringValue === "nil" ? "nil" : quoted(value.stringValue);
}
