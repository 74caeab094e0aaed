// The critical path: what would have to be faster for the trace to end sooner.
import { type Trace, endOf } from "./trace.ts";

/** Between these times, in ns from the start of the trace, the trace waited for the span of this row. */
export interface Segment {
  row: number;
  from: number;
  to: number;
}

export interface CriticalPath {
  segments: readonly Segment[];
  /** ns on the path, by row. */
  time: Float64Array;
}

/**
 * Goes back from the end of the span at `top`: a span waits for the child that ended last, before that for the child
 * that had ended last when that one started, and so on; between them it works itself. What children do behind the end
 * of their parent nobody waits for.
 */
export function criticalPath(trace: Trace, top: number): CriticalPath {
  const time = new Float64Array(trace.rows);
  const segments: Segment[] = [];
  const add = (row: number, from: number, to: number): void => {
    if (to <= from) return;
    segments.push({ row, from, to });
    time[row]! += to - from;
  };
  interface Open {
    row: number;
    cursor: number;
    waiting: Int32Array;
    next: number;
    end: number;
  }
  const open = (row: number, end: number): Open => ({ row, cursor: end, end, waiting: byEnd(trace, row), next: 0 });
  const stack: Open[] = top >= 0 && top < trace.rows ? [open(top, endOf(trace, top))] : [];
  while (stack.length) {
    const here = stack[stack.length - 1]!;
    const start = trace.start[here.row]!;
    let child = -1;
    while (here.next < here.waiting.length) {
      const one = here.waiting[here.next++]!;
      const end = Math.min(endOf(trace, one), here.end);
      if (end <= here.cursor && trace.start[one]! < here.end && end > start) {
        child = one;
        break;
      }
    }
    if (child < 0) {
      add(here.row, start, here.cursor);
      stack.pop();
      continue;
    }
    const end = Math.min(endOf(trace, child), here.end);
    add(here.row, end, here.cursor);
    here.cursor = Math.max(start, Math.min(here.cursor, trace.start[child]!));
    stack.push(open(child, end));
  }
  segments.reverse();
  return { segments, time };
}

function byEnd(trace: Trace, row: number): Int32Array {
  const own = trace.children.slice(trace.childAt[row]!, trace.childAt[row + 1]!);
  return own.sort((a, b) => endOf(trace, b) - endOf(trace, a) || b - a);
}

/** The row that the path begins at: the first root, or else what lasts longest. */
export function mainTop(trace: Trace): number {
  let best = -1;
  for (const row of trace.tops) {
    if (row < trace.spans && trace.parent[row]! < 0 && trace.flags[row] !== undefined && !(trace.flags[row]! & 2)) return row;
    if (best < 0 || trace.duration[row]! > trace.duration[best]!) best = row;
  }
  return best;
}
