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
  /** The side whose share is a bound: the value is not among those that were counted there. */
  atMost?: Side;
}

export type Side = "selection" | "baseline";

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
  collect(fields, answer, { selection: "selection", baseline: "baseline" });
  return ranked(fields);
}

/** Two answers of compare({ }), in which all spans are selected: the spans of `second` are what those of `first` differ from. */
export function differencesBetween(first: MetricsAnswer, second: MetricsAnswer): Differences {
  const fields = new Map<string, Counts>();
  collect(fields, first, { selection: "selection" });
  collect(fields, second, { selection: "baseline" });
  return ranked(fields);
}

/** sides: which side the counts of the answer's selection and baseline are for. */
function collect(fields: Map<string, Counts>, answer: MetricsAnswer, sides: Partial<Record<string, Side>>): void {
  for (const series of answer.series ?? []) {
    const type = find(series.labels, META);
    const label = series.labels?.find((one) => !one.key.startsWith("__"));
    if (!type || !label || find(series.labels, "__meta_error")) continue;
    const side = sides[type.replace("_total", "")];
    if (!side) continue;
    const counts = fields.get(label.key) ?? { selection: new Map(), baseline: new Map(), selectionTotal: 0, baselineTotal: 0 };
    fields.set(label.key, counts);
    const sum = series.samples ? series.samples.reduce((all, one) => all + numberOf(one.value), 0) : numberOf(series.value);
    if (type.endsWith("_total")) counts[`${side}Total`] += sum;
    else {
      const key = JSON.stringify(label.value ?? null);
      const before = counts[side].get(key)?.count ?? 0;
      counts[side].set(key, { value: label.value, count: before + sum });
    }
  }
}

function ranked(fields: Map<string, Counts>): Differences {
  const all = [...fields.values()];
  const selected = Math.max(0, ...all.map((one) => one.selectionTotal));
  const others = Math.max(0, ...all.map((one) => one.baselineTotal));
  const differences = [...fields].map(([field, counts]) => difference(field, counts, selected, others));
  differences.sort((a, b) => b.score - a.score || a.field.localeCompare(b.field));
  return { differences, selected, others };
}

/** The most spans that a value can have which is not listed: only the most frequent values are. */
function unlisted(listed: Counts[Side], total: number): number {
  const counts = [...listed.values()].map((one) => one.count);
  const rest = total - counts.reduce((all, one) => all + one, 0);
  return rest > 0 ? Math.min(rest, ...counts) : 0;
}

function difference(field: string, counts: Counts, selected: number, others: number): Difference {
  const keys = new Set([...counts.selection.keys(), ...counts.baseline.keys()]);
  const bounds = {
    selection: share(unlisted(counts.selection, counts.selectionTotal), selected),
    baseline: share(unlisted(counts.baseline, counts.baselineTotal), others),
  };
  const values: ValueShare[] = [...keys].map((key) => {
    const [one, other] = [counts.selection.get(key), counts.baseline.get(key)];
    const value = (one ?? other)!.value;
    const found: ValueShare = {
      text: valueText(value),
      literal: literalOf(field, value),
      selection: share(one?.count ?? 0, selected),
      baseline: share(other?.count ?? 0, others),
    };
    // Not listed is not absent: as much alike as it may be.
    const side: Side | undefined = one ? (other ? undefined : "baseline") : "selection";
    if (side && bounds[side] > 0) {
      found[side] = Math.min(bounds[side], Math.max(found.selection, found.baseline));
      found.atMost = side;
    }
    return found;
  });
  const absent = {
    text: "",
    literal: "",
    selection: share(selected - counts.selectionTotal, selected),
    baseline: share(others - counts.baselineTotal, others),
  };
  if (absent.selection > 0 || absent.baseline > 0) values.push(absent);
  // Ids differ in every span, which says nothing: a value counts once several spans have it.
  const enough = Math.min(SPANS_MIN, Math.max(1, Math.min(selected, others)));
  const weights = new Map<ValueShare, number>();
  for (const one of values) {
    const several = one.selection * selected + one.baseline * others >= enough - 0.5;
    weights.set(one, several ? divergence(one) * certainty(one, selected, others) : 0);
  }
  values.sort((a, b) => weights.get(b)! - weights.get(a)! || b.selection - a.selection);
  const counting = [...weights.values()].filter((one) => one > 0);
  const sum = counting.reduce((all, one) => all + one, 0);
  return { field, score: Math.max(0, sum - chance(counting.length, selected, others)), values };
}

const SPANS_MIN = 5;

/** What one value adds. A value that only one side has counts more than the same gap between two frequent ones. */
function divergence({ selection, baseline }: ValueShare): number {
  const mean = (selection + baseline) / 2;
  const part = (share: number) => (share > 0 ? share * Math.log2(share / mean) : 0);
  return (part(selection) + part(baseline)) / 2;
}

/** 0 up to two standard errors between the shares, which chance makes often; 1 from three, which it hardly ever makes. */
function certainty({ selection, baseline }: ValueShare, selected: number, others: number): number {
  if (selected === 0 || others === 0) return 0;
  const together = (selection * selected + baseline * others) / (selected + others);
  const error = Math.sqrt(together * (1 - together) * (1 / selected + 1 / others));
  return error > 0 ? Math.min(1, Math.max(0, Math.abs(selection - baseline) / error - 2)) : 0;
}

/** The divergence that two samples of so many values have on average: many values of few spans always differ. */
function chance(values: number, selected: number, others: number): number {
  if (selected === 0 || others === 0 || values < 2) return 0;
  return ((values - 1) / (8 * Math.LN2)) * (1 / selected + 1 / others);
}

const share = (part: number, whole: number): number => (whole > 0 ? Math.max(0, part / whole) : 0);

function literalOf(field: string, value: AnyValue | undefined): string {
  if (!value) return "";
  if (value.stringValue === undefined) return valueText(value);
  if (KEYWORD_FIELDS.has(field)) return value.stringValue;
  return value.stringValue === "nil" ? "nil" : quoted(value.stringValue);
}
