// Time gaps: while a span lasts and none of its children runs. What happens there no span tells.
import { type Trace, endOf } from "./trace.ts";

/** Times in ns from the start of the trace. before, after: the children around it; -1: none, the span itself begins or ends */
export interface Gap {
  row: number;
  from: number;
  to: number;
  before: number;
  after: number;
}

/** Of spans with children, the longest first. leastNs: shorter ones do not count. */
export function gaps(trace: Trace, leastNs: number, most: number): Gap[] {
  const found: Gap[] = [];
  for (let row = 0; row < trace.spans; row += 1) {
    if (trace.childAt[row] === trace.childAt[row + 1] || trace.self[row]! < leastNs) continue;
    const end = endOf(trace, row);
    let at = trace.start[row]!;
    let before = -1;
    for (let n = trace.childAt[row]!; n < trace.childAt[row + 1]!; n += 1) {
      const child = trace.children[n]!;
      const from = Math.min(end, trace.start[child]!);
      if (from - at >= leastNs) found.push({ row, from: at, to: from, before, after: child });
      if (endOf(trace, child) > at) {
        at = endOf(trace, child);
        before = child;
      }
    }
    if (end - at >= leastNs) found.push({ row, from: at, to: end, before, after: -1 });
  }
  return found.sort((a, b) => b.to - b.from - (a.to - a.from)).slice(0, most);
}
