// Numbers for people: durations, times, counts, bytes. All times are unix nanoseconds as bigint, or milliseconds.
import { zoneName } from "../state/timezone.ts";

const UNITS: readonly (readonly [number, string])[] = [
  [86_400e9, "d"],
  [3_600e9, "h"],
  [60e9, "min"],
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
];

/** "1.24 s", "87 ms", "310 µs": three digits at most. */
export function duration(ns: number | bigint): string {
  const value = Number(ns);
  if (!Number.isFinite(value)) return "–";
  const sign = value < 0 ? "-" : "";
  const size = Math.abs(value);
  for (const [unit, name] of UNITS) if (size >= unit) return `${sign}${digits(size / unit)} ${name}`;
  return `${sign}${digits(size)} ns`;
}

/** Of a duration that the API gives in whole milliseconds. */
export const wholeMs = (ms: number): string => (ms === 0 ? "< 1 ms" : duration(ms * 1e6));

/** Three significant digits, without zeros at the end. */
export function digits(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
  return String(Number(value.toFixed(places)));
}

/** 1,234,567 */
export const whole = (value: number): string => Math.round(value).toLocaleString("en-US");

/** "1.2k", "3.4M": for axes and badges. */
export function count(value: number): string {
  const size = Math.abs(value);
  for (const [unit, name] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]] as const) {
    if (size >= unit) return `${digits(value / unit)}${name}`;
  }
  return digits(value);
}

/** "0.42/s", "12/s" */
export const rate = (perSecond: number): string => `${count(perSecond)}/s`;

export function percent(share: number): string {
  if (share === 0) return "0%";
  if (share > 0 && share < 0.0005) return "<0.1%";
  return `${Number((share * 100).toFixed(1))}%`;
}

export function bytes(value: number): string {
  for (const [unit, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]] as const) {
    if (value >= unit) return `${digits(value / unit)} ${name}`;
  }
  return `${value} B`;
}

const formats = new Map<string, Intl.DateTimeFormat>();

function format(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${name}/${zoneName() ?? ""}`;
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat("sv-SE", { ...options, timeZone: zoneName(), hourCycle: "h23" });
    formats.set(key, found);
  }
  return found;
}

const DATE: Intl.DateTimeFormatOptions = { year: "numeric", month: "2-digit", day: "2-digit" };
const CLOCK: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** "2026-11-28 14:03:07.123", in the chosen zone. */
export function dateTime(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  return format("full", { ...DATE, ...CLOCK, fractionalSecondDigits: 3 }).format(ms).replace(",", ".");
}

/** "14:03:07" */
export const clock = (ms: number): string => format("clock", CLOCK).format(ms);

/** "2026-11-28 14:03" */
export const minute = (ms: number): string =>
  format("minute", { ...DATE, hour: "2-digit", minute: "2-digit" }).format(ms);

/** "just now", "3 min ago" */
export function ago(ms: number, nowMs = Date.now()): string {
  const past = nowMs - ms;
  if (past < 0) return `in ${duration(-past * 1e6)}`;
  if (past < 2000) return "just now";
  const [unit, name] = UNITS.find(([size]) => past * 1e6 >= size)!;
  return `${Math.floor((past * 1e6) / unit)} ${name} ago`;
}

export const nsToMs = (ns: string | undefined): number => (ns ? Number(BigInt(ns) / 1000n) / 1000 : NaN);
