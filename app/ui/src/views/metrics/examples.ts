/** What it shows, and the query. */
export const EXAMPLES: readonly (readonly [string, string])[] = [
  ["Requests a second of each service", "{ kind = server } | rate() by (resource.service.name)"],
  ["Errors of each operation", "{ status = error } | count_over_time() by (name)"],
  ["Share of requests that fail", "({ kind = server && status = error } | rate()) / ({ kind = server } | rate())"],
  ["Slow requests: 95 and 99 of 100", "{ kind = server } | quantile_over_time(duration, .95, .99) by (resource.service.name)"],
  ["How durations are spread", "{ nestedSetParent < 0 } | histogram_over_time(duration)"],
  ["The ten busiest operations", "{ } | rate() by (resource.service.name, name) | topk(10)"],
  ["Time in database calls", "{ span.db.system.name != nil } | sum_over_time(duration) by (resource.service.name)"],
];
