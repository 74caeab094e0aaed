// A heatmap's numbers: how many spans of which duration began in which step.
import type { MetricsAnswer } from "../api/types.ts";
import { find, numberOf } from "../lib/value.ts";

export interface Grid {
  /** Where the steps begin, and where the last one ends: one more than there are columns. Unix milliseconds. */
  edgesMs: readonly number[];
  /** Bounds of the rows in seconds, ascending, each twice the one before: one more than there are rows. */
  boundsS: readonly number[];
  /** counts[row][column] */
  counts: readonly (readonly number[])[];
  max: number;
  total: number;
}

/** What somebody has marked. A side that is undefined is open. */
export interface Selection {
  fromMs?: number;
  toMs?: number;
  minS?: number;
  maxS?: number;
}

/** answer: of histogram_over_time over a range, whose samples lie at multiples of the step. */
export function gridOf(answer: MetricsAnswer, fromMs: number, toMs: number, stepMs: number): Grid {
  const first = Math.floor(fromMs / stepMs) * stepMs;
  const columns = Math.max(1, Math.ceil((toMs - first) / stepMs));
  const edgesMs = Array.from({ length: columns + 1 }, (_, at) => first + at * stepMs);
  const byExponent = new Map<number, number[]>();
  let max = 0;
  let total = 0;
  for (const series of answer.series ?? []) {
    const bound = Number(find(series.labels, "__bucket"));
    if (!(bound > 0)) continue;
    const exponent = Math.round(Math.log2(bound * 1e9));
    const row = byExponent.get(exponent) ?? new Array<number>(columns).fill(0);
    byExponent.set(exponent, row);
    for (const sample of series.samples ?? []) {
      // A sample is of the step that ends with it.
      const column = Math.round((Number(sample.timestampMs ?? 0) - first) / stepMs) - 1;
      const value = numberOf(sample.value);
      if (!(column >= 0 && column < columns) || !(value > 0)) continue;
      row[column]! += value;
      total += value;
      max = Math.max(max, row[column]!);
    }
  }
  const present = [...byExponent].filter(([, row]) => row.some((value) => value > 0)).map(([exponent]) => exponent);
  const [low, high] = present.length ? [Math.min(...present), Math.max(...present)] : [20, 30];
  const exponents = Array.from({ length: high - low + 1 }, (_, at) => low + at);
  return {
    edgesMs,
    boundsS: [low - 1, ...exponents].map((exponent) => 2 ** exponent / 1e9),
    counts: exponents.map((exponent) => byExponent.get(exponent) ?? new Array<number>(columns).fill(0)),
    max,
    total,
  };
}

export const rowTotals = (grid: Grid): number[] => grid.counts.map((row) => row.reduce((sum, one) => sum + one, 0));

/** The duration in seconds below which so large a share of all spans lies: a bound of the grid. */
export function quantileBound(grid: Grid, share: number): number | undefined {
  if (grid.total === 0) return undefined;
  let sum = 0;
  for (const [row, count] of rowTotals(grid).entries()) {
    sum += count;
    if (sum >= share * grid.total) return grid.boundsS[row + 1];
  }
  return grid.boundsS.at(-1);
}

/** The time from the first span to the last, where that is only a small part of the range; else undefined. */
export function smallPart(grid: Grid, share: number): { fromMs: number; toMs: number } | undefined {
  const columns = grid.edgesMs.length - 1;
  const used = (column: number) => grid.counts.some((row) => row[column]! > 0);
  let first = 0;
  let last = columns - 1;
  while (first < columns && !used(first)) first += 1;
  while (last > first && !used(last)) last -= 1;
  if (first === columns || (last - first + 1) / columns > share) return undefined;
  return { fromMs: grid.edgesMs[first]!, toMs: grid.edgesMs[last + 1]! };
}

/** Whether a selection holds a cell's middle. */
export function holds(selection: Selection, timeMs: number, seconds: number): boolean {
  return (
    timeMs >= (selection.fromMs ?? -Infinity) &&
    timeMs <= (selection.toMs ?? Infinity) &&
    seconds >= (selection.minS ?? 0) &&
    seconds <= (selection.maxS ?? Infinity)
  );
}

/** Four significant digits and a unit, as TraceQL reads it: 134.2ms */
export function durationLiteral(seconds: number): string {
  const ns = seconds * 1e9;
  for (const [unit, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "us"]] as const) {
    if (ns >= unit) return `${Number((ns / unit).toPrecision(4))}${name}`;
  }
  return `${Math.round(ns)}ns`;
}
