// Where most of the time goes: the operation that the critical path is in for longest.
import type { CriticalPath } from "./critical_path.ts";
import { type Trace, nameOf, serviceOf } from "./trace.ts";

export interface Bottleneck {
  service: string;
  name: string;
  /** Of its spans on the path the one that the trace waits for longest. */
  row: number;
  /** On the path. */
  spans: number;
  ns: number;
  /** Of all of the path. */
  share: number;
}

/** undefined: the path is empty. */
export function bottleneck(trace: Trace, { segments, time }: CriticalPath): Bottleneck | undefined {
  const operations = new Map<string, Bottleneck>();
  let all = 0;
  for (const row of new Set(segments.map((one) => one.row))) {
    const [service, name, ns] = [serviceOf(trace, row), nameOf(trace, row), time[row]!];
    all += ns;
    const key = `${service}\0${name}`;
    const found = operations.get(key) ?? { service, name, row, spans: 0, ns: 0, share: 0 };
    operations.set(key, found);
    if (ns > time[found.row]!) found.row = row;
    found.spans += 1;
    found.ns += ns;
  }
  let most: Bottleneck | undefined;
  for (const one of operations.values()) if (!most || one.ns > most.ns) most = one;
  if (most) most.share = most.ns / all;
  return most;
}
