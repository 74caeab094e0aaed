// What a trace spends its time on, by service or by operation.
import { isError, isMissing, type Trace } from "./trace.ts";

/** Times in ns. */
export interface Statistic {
  service: string;
  /** "" where the row is a whole service. */
  name: string;
  count: number;
  errors: number;
  total: number;
  self: number;
  /** On the critical path. */
  critical: number;
  min: number;
  max: number;
}

export type GroupBy = "service" | "operation";

/** The most self time first. rows: only these; undefined: all spans */
export function statistics(trace: Trace, by: GroupBy, critical: Float64Array, only?: Uint8Array): Statistic[] {
  const groups = new Map<number, Statistic>();
  for (let row = 0; row < trace.spans; row += 1) {
    if (isMissing(trace, row) || (only && !only[row])) continue;
    const service = trace.service[row]!;
    const key = by === "service" ? service : service * trace.names.length + trace.name[row]!;
    let found = groups.get(key);
    if (!found) {
      const name = by === "service" ? "" : trace.names[trace.name[row]!]!;
      found = { service: trace.services[service]!, name, count: 0, errors: 0, total: 0, self: 0, critical: 0, min: Infinity, max: 0 };
      groups.set(key, found);
    }
    const duration = trace.duration[row]!;
    found.count += 1;
    if (isError(trace, row)) found.errors += 1;
    found.total += duration;
    found.self += trace.self[row]!;
    found.critical += critical[row]!;
    if (duration < found.min) found.min = duration;
    if (duration > found.max) found.max = duration;
  }
  return [...groups.values()].sort((a, b) => b.self - a.self || b.count - a.count);
}
