// Traces for tests, from a few words: id, parent, service, name, start and end.
import type { Outline } from "../../src/views/trace/model/outline.ts";
import { buildTrace, type Trace } from "../../src/views/trace/model/trace.ts";

export interface Spec {
  id: string;
  parent?: string;
  service?: string;
  name?: string;
  from: number;
  to: number;
  error?: boolean;
}

/** In: in any order; a parent that is not there is missing, and what is its own ancestor is cut where the API cuts it. */
export function traceOf(specs: readonly Spec[]): Trace {
  return buildTrace(outlineOf(specs));
}

export function outlineOf(given: readonly Spec[]): Outline {
  const specs = [...given].sort((a, b) => a.from - b.from);
  const rowOf = new Map(specs.map((one, row) => [one.id, row]));
  const names = [...new Set(specs.map((one) => one.name ?? one.id))];
  const services = [...new Set(specs.map((one) => one.service ?? "s"))];
  const parent = specs.map((one) => (one.parent === undefined ? -1 : (rowOf.get(one.parent) ?? -2)));
  for (let row = 0; row < parent.length; row += 1) if (inCircle(parent, row)) parent[row] = -2;
  const orphan = parent.flatMap((above, row) => (above === -2 ? [row] : []));
  return {
    id: "00000000000000000000000000000001",
    spans: specs.length,
    startNs: 1_700_000_000_000_000_000n,
    durationNs: Math.max(0, ...specs.map((one) => one.to)) - Math.min(0, ...specs.map((one) => one.from)),
    rootName: "",
    rootService: "",
    partial: "",
    names,
    services,
    start: Float64Array.from(specs, (one) => one.from),
    duration: Float64Array.from(specs, (one) => one.to - one.from),
    parent: Int32Array.from(parent),
    name: Uint32Array.from(specs, (one) => names.indexOf(one.name ?? one.id)),
    service: Uint32Array.from(specs, (one) => services.indexOf(one.service ?? "s")),
    kind: new Uint8Array(specs.length),
    status: Uint8Array.from(specs, (one) => (one.error ? 2 : 0)),
    spanId: Uint8Array.from(specs.flatMap((one) => idBytes(one.id))),
    orphan: Uint32Array.from(orphan),
    orphanParentId: Uint8Array.from(orphan.flatMap((row) => idBytes(specs[row]!.parent!))),
    eventSpan: new Uint32Array(0),
    eventTime: new Float64Array(0),
    linkSpan: new Uint32Array(0),
    linkTo: new Int32Array(0),
  };
}

function inCircle(parent: readonly number[], row: number): boolean {
  let at = parent[row]!;
  for (let steps = 0; at >= 0 && steps < parent.length; steps += 1, at = parent[at]!) if (at === row) return true;
  return false;
}

/** Eight bytes: the letters of the id, then zeros. */
export function idBytes(id: string): number[] {
  return Array.from({ length: 8 }, (_, at) => id.charCodeAt(at) || 0);
}

export const idHex = (id: string): string =>
  idBytes(id)
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");

/** Row → id of the spec. */
export function namesOf(trace: Trace, rows: Iterable<number>): string {
  return [...rows].map((row) => (row < trace.spans ? trace.names[trace.name[row]!]! : "?")).join(" ");
}

/** A pseudo-random number generator: the same numbers in each run. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A random trace of n spans with some orphans. */
export function randomTrace(n: number, seed: number): Trace {
  const next = random(seed);
  const specs: Spec[] = [];
  for (let i = 0; i < n; i += 1) {
    const above = i && next() > 0.05 ? specs[Math.floor(next() * Math.min(i, 40)) + Math.max(0, i - 40)] : undefined;
    const from = above ? above.from + Math.floor(next() * (above.to - above.from)) : i ? Math.floor(next() * 1000) : 0;
    const to = i ? from + Math.floor(next() * 300) : 1000;
    const id = i.toString(36);
    const parent = above ? above.id : i && next() < 0.5 ? "gone" : undefined;
    const one: Spec = { id, from, to, service: `s${Math.floor(next() * 4)}`, name: `n${Math.floor(next() * 5)}`, error: next() < 0.05 };
    if (parent !== undefined) one.parent = parent;
    specs.push(one);
  }
  return traceOf(specs);
}
