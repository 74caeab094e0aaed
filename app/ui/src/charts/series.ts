// Metrics answers as lines on one axis of time.
import type { KeyValue, MetricsAnswer } from "../api/types.ts";
import { digits, duration, rate } from "../lib/format.ts";
import { quoted } from "../lib/traceql_text.ts";
import { numberOf, valueText } from "../lib/value.ts";
import { lex } from "../traceql/lex.ts";

export interface Line {
  label: string;
  labels: readonly KeyValue[];
  /** One for each time; null: no sample. */
  values: (number | null)[];
  exemplars: Mark[];
}

export interface Mark {
  ms: number;
  value: number;
  traceId: string;
}

export interface Lines {
  timesMs: number[];
  lines: Line[];
}

export type Unit = "seconds" | "rate" | "number";

export function linesOf(answer: MetricsAnswer, unit: Unit = "number"): Lines {
  const hidden = onlyOneQuantile(answer) ? "p" : "";
  const times = new Set<number>();
  for (const series of answer.series ?? []) for (const sample of series.samples ?? []) times.add(Number(sample.timestampMs ?? 0));
  const timesMs = [...times].sort((a, b) => a - b);
  const places = new Map(timesMs.map((ms, at) => [ms, at]));
  const lines = (answer.series ?? []).map((series) => {
    const values = new Array<number | null>(timesMs.length).fill(null);
    for (const sample of series.samples ?? []) {
      const value = numberOf(sample.value);
      // Of durations 0 means that there were no spans.
      values[places.get(Number(sample.timestampMs ?? 0))!] = Number.isFinite(value) && (value > 0 || unit !== "seconds") ? value : null;
    }
    const exemplars = (series.exemplars ?? []).map((one) => ({
      ms: Number(one.timestampMs ?? 0),
      value: numberOf(one.value),
      traceId: valueText(one.labels?.find((label) => label.key === "trace:id")?.value),
    }));
    return { label: labelText(series.labels?.filter((one) => one.key !== hidden)), labels: series.labels ?? [], values, exemplars };
  });
  return { timesMs, lines };
}

/** Whether all series are about the same quantile, and have other labels to tell them apart. */
function onlyOneQuantile(answer: MetricsAnswer): boolean {
  const found = new Set((answer.series ?? []).map((one) => valueText(one.labels?.find((label) => label.key === "p")?.value)));
  return found.size === 1 && (answer.series ?? []).every((one) => (one.labels?.length ?? 0) > 1);
}

/** "checkout, p95": values alone, since all series have the same keys. */
export function labelText(labels: readonly KeyValue[] | undefined): string {
  const shown = (labels ?? []).filter((one) => one.key !== "__name__");
  const texts = shown.map((one) => {
    if (one.key === "p") return `p${digits(Number(valueText(one.value)) * 100)}`;
    if (one.key === "__bucket") return `≤ ${duration(Number(valueText(one.value)) * 1e9)}`;
    return valueText(one.value) || "(none)";
  });
  return texts.join(", ") || "all";
}

const OF_VALUES = /^(min|max|avg|sum|quantile|histogram)_over_time$/;

/** What the numbers of a query's answer are. */
export function unitOf(query: string): Unit {
  const words = lex(query).filter((token) => token.kind === "word");
  const of = words.findIndex((token) => OF_VALUES.test(token.text));
  if (of >= 0) return /duration|timeSinceStart/i.test(words[of + 1]?.text ?? "") ? "seconds" : "number";
  const divides = lex(query).some((token) => token.text === "/");
  return words.some((token) => token.text === "rate") && !divides ? "rate" : "number";
}

export function unitText(value: number | null | undefined, unit: Unit): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (unit === "seconds") return value === 0 ? "0" : duration(value * 1e9);
  return unit === "rate" ? rate(value) : digits(value);
}

/** Conditions that the spans of a series meet. */
export function conditionsFor(labels: readonly KeyValue[]): string {
  const parts = labels
    .filter((one) => one.key !== "p" && !one.key.startsWith("__"))
    .map((one) => {
      const value = one.value;
      const text = valueText(value);
      if (!value || text === "nil") return `${one.key} = nil`;
      if (value.stringValue === undefined) return `${one.key} = ${text}`;
      return `${one.key} = ${one.key === "status" || one.key === "kind" ? text : quoted(text)}`;
    });
  return parts.join(" && ");
}

