// What is looked for inside a trace: text in names at once, everything else by the server, which has the attributes.
import { fetchMatches } from "./outline.ts";
import type { Trace } from "./trace.ts";

export interface Found {
  /** 1: the row matches. */
  matches: Uint8Array;
  count: number;
}

export const isTraceQL = (text: string): boolean => text.trimStart().startsWith("{");

/** Rows whose name, service or span id has the text in it, whatever its case. */
export function findText(trace: Trace, text: string): Uint8Array {
  const wanted = text.trim().toLowerCase();
  const has = (names: readonly string[]): boolean[] => names.map((name) => name.toLowerCase().includes(wanted));
  const names = has(trace.names);
  const services = has(trace.services);
  const matches = new Uint8Array(trace.rows);
  for (let row = 0; row < trace.spans; row += 1) {
    if (names[trace.name[row]!] || services[trace.service[row]!]) matches[row] = 1;
  }
  if (/^[0-9a-f]{16}$/.test(wanted)) mark(trace, idsOf(wanted), matches);
  return matches;
}

function idsOf(id: string): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, at) => parseInt(id.slice(2 * at, 2 * at + 2), 16));
}

/** Marks the rows of span ids. ids: 8 bytes each */
export function mark(trace: Trace, ids: Uint8Array, matches: Uint8Array): void {
  const wanted = new Set<bigint>();
  const view = new DataView(ids.buffer, ids.byteOffset, ids.byteLength);
  for (let at = 0; at + 8 <= ids.length; at += 8) wanted.add(view.getBigUint64(at));
  if (!wanted.size) return;
  const own = new DataView(trace.spanId.buffer, trace.spanId.byteOffset, trace.spanId.byteLength);
  for (let row = 0; row < trace.spans; row += 1) if (wanted.has(own.getBigUint64(row * 8))) matches[row] = 1;
}

export const counted = (matches: Uint8Array): Found => {
  let count = 0;
  for (let row = 0; row < matches.length; row += 1) count += matches[row]!;
  return { matches, count };
};

/** All rows that match: TraceQL, or text anywhere in the span. Throws ApiError. */
export async function findAll(trace: Trace, text: string, signal: AbortSignal): Promise<Found> {
  if (isTraceQL(text)) {
    const matches = new Uint8Array(trace.rows);
    mark(trace, await fetchMatches(trace.id, { q: text }, signal), matches);
    return counted(matches);
  }
  const matches = findText(trace, text);
  mark(trace, await fetchMatches(trace.id, { text: text.trim() }, signal), matches);
  return counted(matches);
}

/** Rows that last at least this share (0 to 1) of the trace. */
export function longerThan(trace: Trace, share: number): Uint8Array {
  const matches = new Uint8Array(trace.rows);
  const least = trace.durationNs * share;
  for (let row = 0; row < trace.rows; row += 1) if (trace.duration[row]! >= least) matches[row] = 1;
  return matches;
}

/** Rows that are in both; undefined is all of them. */
export function both(a: Uint8Array | undefined, b: Uint8Array | undefined): Uint8Array | undefined {
  if (!a || !b) return a ?? b;
  return a.map((value, row) => value & b[row]!);
}
