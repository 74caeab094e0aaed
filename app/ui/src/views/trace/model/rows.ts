// Which lines the waterfall shows, in their order.
import type { Folds } from "./folds.ts";
import type { Trace } from "./trace.ts";

export interface Shown {
  /** 1: the children of the row are hidden. */
  collapsed: Uint8Array;
  /** Numbers of the groups of repeated siblings that are shown one by one. */
  unfolded: ReadonlySet<number>;
  folding: boolean;
  /** 1: the row is shown; undefined: all are. An ancestor of what is shown must be shown. */
  keep?: Uint8Array | undefined;
}

/** A line is a span, or a group of repeated siblings. */
export interface Lines {
  count: number;
  /** Row of the span; of a group its first. */
  row: Int32Array;
  /** Number of the group whose line this is; -1: it is a span's. */
  group: Int32Array;
  /** Levels from the left. */
  level: Int32Array;
  /** The line of a row, and of rows hidden in a group the group's; -1: neither is shown. */
  lineOf: (row: number) => number;
  /** The line of a group; -1: it is not shown. */
  lineOfGroup: (group: number) => number;
}

export function linesOf(trace: Trace, folds: Folds, shown: Shown): Lines {
  const { keep, collapsed } = shown;
  const row = new Int32Array(trace.rows + folds.members.length);
  const group = new Int32Array(row.length).fill(-1);
  const level = new Int32Array(row.length);
  let count = 0;
  // What waits, last first: rows as they are, groups as -1 - number.
  const stack: number[] = [];
  const levels: number[] = [];
  const push = (rows: Int32Array, from: number, to: number, at: number): void => {
    for (let n = to - 1; n >= from; n -= 1) {
      const one = rows[n]!;
      if (keep && !keep[one]) continue;
      const of = shown.folding ? folds.groupOf[one]! : -1;
      if (of >= 0) {
        if (firstKept(folds.members[of]!, keep) !== one) continue;
        stack.push(-1 - of);
      } else stack.push(one);
      levels.push(at);
    }
  };
  push(trace.tops, 0, trace.tops.length, 0);
  while (stack.length) {
    const one = stack.pop()!;
    const at = levels.pop()!;
    if (one < 0) {
      const number = -1 - one;
      const members = folds.members[number]!;
      row[count] = firstKept(members, keep);
      group[count] = number;
      level[count++] = at;
      if (!shown.unfolded.has(number)) continue;
      for (let n = members.length - 1; n >= 0; n -= 1) {
        if (keep && !keep[members[n]!]) continue;
        stack.push(members[n]!);
        levels.push(at + 1);
      }
      continue;
    }
    row[count] = one;
    level[count++] = at;
    if (!collapsed[one]) push(trace.children, trace.childAt[one]!, trace.childAt[one + 1]!, at + 1);
  }
  return finished(trace, folds, row.slice(0, count), group.slice(0, count), level.slice(0, count));
}

function firstKept(members: Int32Array, keep: Uint8Array | undefined): number {
  if (!keep) return members[0]!;
  for (const row of members) if (keep[row]) return row;
  return -1;
}

function finished(trace: Trace, folds: Folds, row: Int32Array, group: Int32Array, level: Int32Array): Lines {
  let spans: Int32Array | undefined;
  const groups = new Map<number, number>();
  // Made when somebody asks: while one scrolls nobody does.
  const places = (): Int32Array => {
    if (spans) return spans;
    spans = new Int32Array(trace.rows).fill(-1);
    for (let line = 0; line < row.length; line += 1) {
      if (group[line]! >= 0) groups.set(group[line]!, line);
      else spans[row[line]!] = line;
    }
    return spans;
  };
  const lineOfGroup = (of: number): number => {
    places();
    return groups.get(of) ?? -1;
  };
  const lineOf = (wanted: number): number => {
    const own = places()[wanted] ?? -1;
    return own >= 0 ? own : lineOfGroup(folds.groupOf[wanted] ?? -1);
  };
  return { count: row.length, row, group, level, lineOf, lineOfGroup };
}

/** Rows that match, and those above them. */
export function withAncestors(trace: Trace, matches: Uint8Array): Uint8Array {
  const keep = matches.slice();
  for (let n = trace.order.length - 1; n >= 0; n -= 1) {
    const row = trace.order[n]!;
    if (keep[row] && trace.parent[row]! >= 0) keep[trace.parent[row]!] = 1;
  }
  return keep;
}

/** Collapsed so that nothing deeper than the level is shown. level: from 1 */
export function collapsedBelow(trace: Trace, level: number): Uint8Array {
  const collapsed = new Uint8Array(trace.rows);
  for (let row = 0; row < trace.rows; row += 1) if (trace.depth[row]! >= level - 1) collapsed[row] = 1;
  return collapsed;
}

/** Collapsed where everything below is of the same service: what remains are the calls from one to another. */
export function collapsedByService(trace: Trace): Uint8Array {
  const mixed = new Uint8Array(trace.rows);
  for (let n = trace.order.length - 1; n >= 0; n -= 1) {
    const row = trace.order[n]!;
    const above = trace.parent[row]!;
    if (above >= 0 && (mixed[row] || trace.service[row] !== trace.service[above] || row >= trace.spans)) mixed[above] = 1;
  }
  const collapsed = new Uint8Array(trace.rows);
  for (let row = 0; row < trace.spans; row += 1) {
    if (!mixed[row] && trace.childAt[row] !== trace.childAt[row + 1]) collapsed[row] = 1;
  }
  return collapsed;
}

/** Shows a row: opens what hides it. */
export function reveal(trace: Trace, folds: Folds, shown: Shown, row: number): Shown {
  let { collapsed, unfolded } = shown;
  for (let at = row, first = true; at >= 0; at = trace.parent[at]!, first = false) {
    if (!first && collapsed[at]) {
      if (collapsed === shown.collapsed) collapsed = collapsed.slice();
      collapsed[at] = 0;
    }
    const of = folds.groupOf[at]!;
    if (of >= 0 && !unfolded.has(of)) unfolded = new Set([...unfolded, of]);
  }
  return { ...shown, collapsed, unfolded };
}
