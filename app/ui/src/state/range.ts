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

/** A range as the URL has it: relative to now, or unix milliseconds. */
export interface RangeText {
  from: string;
  to: string;
}

/** The parameters of the URL that a range is in. */
export const RANGE_NAMES: RangeText = { from: "from", to: "to" };

/** The range in some parameters of the URL. */
export const rangeTextOf = (names: RangeText): RangeText => ({ from: param(names.from) || DEFAULT_FROM, to: param(names.to) || "now" });

export function momentsOf({ from, to }: RangeText): Range {
  const toMs = momentOf(to, now.value) ?? now.value;
  const fromMs = momentOf(from, now.value) ?? toMs - 3600e3;
  return fromMs < toMs ? { fromMs, toMs } : { fromMs: toMs - 1000, toMs };
}

/** The range of a view that has one. */
export const rangeText = computed(() => rangeTextOf(RANGE_NAMES));
export const range = computed(() => momentsOf(rangeText.value));

export const isRelative = computed(() => rangeText.value.from.startsWith("now"));

export function setRange(from: string | number, to: string | number, names: RangeText = RANGE_NAMES): void {
  now.value = Date.now();
  setQuery({ [names.from]: from === DEFAULT_FROM ? null : from, [names.to]: to === "now" ? null : to });
}

/** The same range some time before: what is relative to now stays so. */
export function earlier({ from, to }: RangeText, byMs: number): RangeText {
  return { from: momentBefore(from, byMs), to: momentBefore(to, byMs) };
}

function momentBefore(text: string, byMs: number): string {
  const ms = momentOf(text, now.value) ?? now.value;
  const agoMs = now.value - ms + byMs;
  const unit = ["d", "h", "m", "s"].find((one) => agoMs % UNITS[one]! === 0 && agoMs / UNITS[one]! < 1e6);
  return text.startsWith("now") && unit ? `now-${agoMs / UNITS[unit]!}${unit}` : String(Math.round(ms - byMs));
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
