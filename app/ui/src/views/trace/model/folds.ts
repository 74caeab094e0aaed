// Repeated siblings: children of one span with one service and name, as a loop over SELECT makes them.
import type { Trace } from "./trace.ts";

/** Fewer are shown one by one. */
export const FOLD_MIN = 5;

export interface Folds {
  /** Number of the group of a row; -1: none. */
  groupOf: Int32Array;
  /** Rows of each group, by start. */
  members: readonly Int32Array[];
}

export function findFolds(trace: Trace, least = FOLD_MIN): Folds {
  const groupOf = new Int32Array(trace.rows).fill(-1);
  const members: Int32Array[] = [];
  const width = trace.names.length;
  const fold = (rows: Int32Array): void => {
    if (rows.length < least) return;
    const alike = new Map<number, number[]>();
    for (const row of rows) {
      if (row >= trace.spans) continue;
      const key = trace.service[row]! * width + trace.name[row]!;
      const found = alike.get(key);
      if (found) found.push(row);
      else alike.set(key, [row]);
    }
    for (const found of alike.values()) {
      if (found.length < least) continue;
      for (const row of found) groupOf[row] = members.length;
      members.push(Int32Array.from(found));
    }
  };
  fold(trace.tops);
  for (let row = 0; row < trace.rows; row += 1) {
    if (trace.childAt[row + 1]! - trace.childAt[row]! >= least) {
      fold(trace.children.subarray(trace.childAt[row]!, trace.childAt[row + 1]!));
    }
  }
  return { groupOf, members };
}
