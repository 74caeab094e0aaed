// Times to pixels, and the ticks of the axis.
import type { Zoom } from "../state.ts";

export interface Tick {
  ns: number;
  label: string;
}

/** Round steps, as many as fit. widthPx: of the axis */
export function ticks({ from, to }: Zoom, widthPx: number, apartPx = 110): Tick[] {
  const range = to - from;
  const most = Math.max(1, Math.floor(widthPx / apartPx));
  const step = niceStep(range / most);
  const found: Tick[] = [];
  for (let n = Math.ceil(from / step); n * step <= to; n += 1) found.push({ ns: n * step, label: stepLabel(n * step, step) });
  return found;
}

/** 1, 2 or 5 times a power of ten; at least as large. */
export function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
  for (const factor of [1, 2, 5]) if (factor * power >= least * 0.999_999) return factor * power;
  return 10 * power;
}

const UNITS: readonly (readonly [number, string])[] = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
  [1, "ns"],
];

/** With as many places as tell it from its neighbours. */
export function stepLabel(ns: number, step: number): string {
  const size = Math.max(Math.abs(ns), step);
  const [unit, name] = UNITS.find(([one]) => size >= one) ?? UNITS[3]!;
  const places = Math.max(0, Math.min(6, -Math.floor(Math.log10(step / unit) + 1e-9)));
  return `${(ns / unit).toFixed(places)} ${name}`;
}
