// The time range of a view, in the URL: ?from=now-1h&to=now, or unix milliseconds.
import { computed, signal } from "@preact/signals";
import { param, setQuery } from "../router.ts";

export interface Range {
  fromMs: number;
  toMs: number;
}

export const DEFAULT_FROM = "now-1h";
export const RELATIVE: readonly (readonly [string, string])[] = [
  ["now-5m", "Last 5 minutes"],
  ["now-15m", "Last 15 minutes"],
  ["now-30m", "Last 30 minutes"],
  ["now-1h", "Last hour"],
  ["now-3h", "Last 3 hours"],
  ["now-6h", "Last 6 hours"],
  ["now-24h", "Last 24 hours"],
  ["now-2d", "Last 2 days"],
  ["now-7d", "Last 7 days"],
];

const UNITS: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3, d: 86_400e3 };

/** When "now" is: moves when something is asked anew, so that all of a view is about one range. */
export const now = signal(Date.now());

export function momentOf(text: string, nowMs: number): number | undefined {
  if (/^\d{1,16}$/.test(text)) return Number(text);
  const found = /^now(?:-(\d{1,6})([smhd]))?$/.exec(text);
  if (!found) return undefined;
  return nowMs - (found[1] ? Number(found[1]) * UNITS[found[2]!]! : 0);
}

export const rangeText = computed(() => ({ from: param("from") || DEFAULT_FROM, to: param("to") || "now" }));

export const range = computed<Range>(() => {
  const { from, to } = rangeText.value;
  const toMs = momentOf(to, now.value) ?? now.value;
  const fromMs = momentOf(from, now.value) ?? toMs - 3600e3;
  return fromMs < toMs ? { fromMs, toMs } : { fromMs: toMs - 1000, toMs };
});

export const isRelative = computed(() => rangeText.value.from.startsWith("now"));

export function setRange(from: string | number, to: string | number, more: Record<string, string | null> = {}): void {
  now.value = Date.now();
  const values = { from: String(from), to: String(to) };
  setQuery({ ...more, from: values.from === DEFAULT_FROM ? null : values.from, to: values.to === "now" ? null : values.to });
}

/** The same range, as of now. */
export function refresh(): void {
  now.value = Date.now();
}

/** start and end for /api/search, which takes whole seconds. */
export const inSeconds = ({ fromMs, toMs }: Range): { start: number; end: number } => ({
  start: Math.floor(fromMs / 1000),
  end: Math.ceil(toMs / 1000),
});

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

/** A round step that gives at most so many samples, in seconds. */
export function stepFor({ fromMs, toMs }: Range, samples: number): number {
  const least = (toMs - fromMs) / 1000 / samples;
  return STEPS_S.find((step) => step >= least) ?? Math.ceil(least);
}
