// A trace in columns: a number per span in each array, its place in them is the span's row. Rows are ordered by start.
import { MISSING, ROOT, type Outline } from "./outline.ts";

/** What is odd about a span. */
export const Flag = {
  /** No span: stands for one that others name as their parent, and that is not there. */
  missing: 1,
  /** Its own ancestor: shown as a root. */
  cycle: 2,
  /** Starts before its parent does: the clocks of two machines differ. */
  skewed: 4,
  /** Has an error, or some span below it does. */
  errorBelow: 8,
} as const;

export const STATUS_ERROR = 2;

export interface Trace extends Outline {
  /** Spans, and rows that stand for missing parents, which come last. */
  rows: number;
  /** Row of the parent; -1: none. */
  parent: Int32Array;
  depth: Int32Array;
  /** Spans of the subtree, the row itself counted. */
  size: Int32Array;
  /** Children of row r: children[childAt[r]] … children[childAt[r + 1] - 1], by start. */
  childAt: Int32Array;
  children: Int32Array;
  /** Rows without a parent: roots first, then what stands alone, by start. */
  tops: Int32Array;
  /** All rows, each before its children. */
  order: Int32Array;
  flags: Uint8Array;
  /** ns in which no child runs. */
  self: Float64Array;
  /** Row of a missing parent → its span id. */
  missingIds: ReadonlyMap<number, string>;
  errors: number;
  orphans: number;
  skewed: number;
  cycles: number;
}

export function buildTrace(outline: Outline): Trace {
  const wide = withMissingParents(outline);
  const { rows, parent } = wide;
  const { childAt, children } = childLists(parent, rows);
  const tops = topRows(wide, outline.spans);
  const { order, depth } = tour(tops, childAt, children, rows);
  const trace: Trace = {
    ...outline,
    ...wide,
    childAt,
    children,
    tops,
    order,
    depth,
    size: new Int32Array(rows),
    self: new Float64Array(rows),
    errors: 0,
    skewed: 0,
  };
  spreadMissing(trace);
  upwards(trace);
  selfTimes(trace);
  return trace;
}

export const endOf = (trace: Trace, row: number): number => trace.start[row]! + trace.duration[row]!;
export const isMissing = (trace: Trace, row: number): boolean => (trace.flags[row]! & Flag.missing) !== 0;
export const isError = (trace: Trace, row: number): boolean => trace.status[row] === STATUS_ERROR;
export const nameOf = (trace: Trace, row: number): string =>
  isMissing(trace, row) ? "missing span" : (trace.names[trace.name[row]!] ?? "");
export const serviceOf = (trace: Trace, row: number): string => trace.services[trace.service[row]!] ?? "";

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** 16 hex digits. */
export function spanIdOf(trace: Trace, row: number): string {
  if (row >= trace.spans) return trace.missingIds.get(row) ?? "";
  let text = "";
  for (let at = row * 8; at < row * 8 + 8; at += 1) text += HEX[trace.spanId[at]!]!;
  return text;
}

export function hex(bytes: Uint8Array, at: number): string {
  let text = "";
  for (let i = at; i < at + 8; i += 1) text += HEX[bytes[i]!]!;
  return text;
}

/** The row of a span id; -1: there is none. */
export function rowOfId(trace: Trace, id: string): number {
  if (!/^[0-9a-f]{16}$/i.test(id)) return -1;
  const wanted = Uint8Array.from({ length: 8 }, (_, at) => parseInt(id.slice(2 * at, 2 * at + 2), 16));
  const ids = trace.spanId;
  search: for (let row = 0; row < trace.spans; row += 1) {
    for (let at = 0; at < 8; at += 1) if (ids[row * 8 + at] !== wanted[at]) continue search;
    return row;
  }
  for (const [row, missing] of trace.missingIds) if (missing === id.toLowerCase()) return row;
  return -1;
}

type Wide = Pick<Trace, "rows" | "parent" | "start" | "duration" | "name" | "service" | "kind" | "status" | "flags"> &
  Pick<Trace, "missingIds" | "orphans" | "cycles">;

/** A row for each span that is named as a parent and not there. Circles are cut: their first span counts as a root. */
function withMissingParents(outline: Outline): Wide {
  const own = new Set<string>();
  const wanted = new Set<string>();
  for (let n = 0; n < outline.orphan.length; n += 1) wanted.add(hex(outline.orphanParentId, n * 8));
  if (wanted.size) {
    for (let row = 0; row < outline.spans; row += 1) {
      const id = hex(outline.spanId, row * 8);
      if (wanted.has(id)) own.add(id);
    }
  }
  const placeOf = new Map<string, number>();
  for (const id of wanted) if (!own.has(id)) placeOf.set(id, outline.spans + placeOf.size);
  const rows = outline.spans + placeOf.size;
  const wide: Wide = {
    rows,
    parent: longer(outline.parent, rows, ROOT),
    start: longer(outline.start, rows, Infinity),
    duration: longer(outline.duration, rows, 0),
    name: longer(outline.name, rows, 0),
    service: longer(outline.service, rows, 0),
    kind: longer(outline.kind, rows, 0),
    status: longer(outline.status, rows, 0),
    flags: new Uint8Array(rows),
    missingIds: new Map([...placeOf].map(([id, row]) => [row, id])),
    orphans: 0,
    cycles: 0,
  };
  wide.flags.fill(Flag.missing, outline.spans);
  for (let n = 0; n < outline.orphan.length; n += 1) {
    const row = outline.orphan[n]!;
    const place = placeOf.get(hex(outline.orphanParentId, n * 8));
    if (place === undefined) {
      wide.parent[row] = ROOT;
      wide.flags[row]! |= Flag.cycle;
      wide.cycles += 1;
    } else {
      wide.parent[row] = place;
      wide.orphans += 1;
    }
  }
  for (let row = 0; row < outline.spans; row += 1) if (wide.parent[row] === MISSING) wide.parent[row] = ROOT;
  return wide;
}

function longer<T extends Float64Array | Int32Array | Uint32Array | Uint8Array>(array: T, length: number, value: number): T {
  if (array.length === length) return array.slice() as T;
  const out = new (array.constructor as new (length: number) => T)(length);
  out.set(array);
  out.fill(value, array.length);
  return out;
}

function childLists(parent: Int32Array, rows: number): { childAt: Int32Array; children: Int32Array } {
  const childAt = new Int32Array(rows + 1);
  for (let row = 0; row < rows; row += 1) if (parent[row]! >= 0) childAt[parent[row]! + 1]! += 1;
  for (let row = 0; row < rows; row += 1) childAt[row + 1]! += childAt[row]!;
  const next = childAt.slice(0, rows);
  const children = new Int32Array(childAt[rows]!);
  for (let row = 0; row < rows; row += 1) {
    const above = parent[row]!;
    if (above >= 0) children[next[above]!++] = row;
  }
  return { childAt, children };
}

function topRows(wide: Wide, spans: number): Int32Array {
  const roots: number[] = [];
  const circles: number[] = [];
  const missing: number[] = [];
  for (let row = 0; row < wide.rows; row += 1) {
    if (wide.parent[row]! >= 0) continue;
    if (row >= spans) missing.push(row);
    else if (wide.flags[row]! & Flag.cycle) circles.push(row);
    else roots.push(row);
  }
  return Int32Array.from([...roots, ...circles, ...missing]);
}

/** Each row before its children, without recursion: a trace may be one chain. */
function tour(tops: Int32Array, childAt: Int32Array, children: Int32Array, rows: number): { order: Int32Array; depth: Int32Array } {
  const order = new Int32Array(rows);
  const depth = new Int32Array(rows);
  const stack = new Int32Array(rows);
  let height = 0;
  let count = 0;
  for (let n = tops.length - 1; n >= 0; n -= 1) stack[height++] = tops[n]!;
  while (height) {
    const row = stack[--height]!;
    order[count++] = row;
    for (let at = childAt[row + 1]! - 1; at >= childAt[row]!; at -= 1) {
      const child = children[at]!;
      depth[child] = depth[row]! + 1;
      stack[height++] = child;
    }
  }
  return { order: count === rows ? order : order.slice(0, count), depth };
}

/** A missing parent lasts, as far as one knows, as long as its children. */
function spreadMissing(trace: Trace): void {
  for (let row = trace.spans; row < trace.rows; row += 1) {
    let end = -Infinity;
    for (let at = trace.childAt[row]!; at < trace.childAt[row + 1]!; at += 1) {
      const child = trace.children[at]!;
      trace.start[row] = Math.min(trace.start[row]!, trace.start[child]!);
      end = Math.max(end, endOf(trace, child));
      trace.service[row] = trace.service[child]!;
    }
    trace.duration[row] = Math.max(0, end - trace.start[row]!);
  }
}

/** Sizes and errors of subtrees, and starts before the parent's. */
function upwards(trace: Trace): void {
  const { order, parent, size, flags, start } = trace;
  for (let n = order.length - 1; n >= 0; n -= 1) {
    const row = order[n]!;
    const above = parent[row]!;
    size[row]! += 1;
    if (isError(trace, row)) {
      trace.errors += 1;
      flags[row]! |= Flag.errorBelow;
    }
    if (above < 0) continue;
    size[above]! += size[row]!;
    flags[above]! |= flags[row]! & Flag.errorBelow;
    if (start[row]! < start[above]!) {
      flags[row]! |= Flag.skewed;
      trace.skewed += 1;
    }
  }
}

/** Durations less the time in which a child runs. */
function selfTimes(trace: Trace): void {
  for (let row = 0; row < trace.spans; row += 1) {
    let covered = 0;
    let at = trace.start[row]!;
    const end = endOf(trace, row);
    for (let n = trace.childAt[row]!; n < trace.childAt[row + 1]!; n += 1) {
      const child = trace.children[n]!;
      const childEnd = Math.min(end, endOf(trace, child));
      if (childEnd > at) {
        covered += childEnd - Math.max(at, trace.start[child]!);
        at = childEnd;
      }
    }
    trace.self[row] = trace.duration[row]! - covered;
  }
}
