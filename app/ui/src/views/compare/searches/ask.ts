// What is asked about each of two searches: how often each attribute has which value, and durations.
import { getJson } from "../../../api/client.ts";
import type { MetricsAnswer } from "../../../api/types.ts";
import { type Asked, useQuery } from "../../../api/use_query.ts";
import { find, numberOf } from "../../../lib/value.ts";
import { momentsOf } from "../../../state/range.ts";
import { spansOf } from "../../../traceql/edit.ts";
import { differencesBetween } from "../../search/diff_data.ts";
import type { Search } from "./state.ts";

const VALUES = 100;
// Every span has it.
const STATUS = "status";

export interface Answers {
  /** How often each value occurs: compare({ }), which selects all spans. */
  values: MetricsAnswer;
  /** Of what is compared. */
  spans: number;
  errorShare: number;
  /** Of the spans that match, in nanoseconds. */
  p50: number | undefined;
  p95: number | undefined;
  p99: number | undefined;
  /** What the answers miss, where they miss something. */
  partial: string;
}

/** deep: all spans of the traces count, whose roots the search matches. */
export function useAnswers({ query, range }: Search, deep: boolean): Asked<Answers> {
  const { fromMs, toMs } = momentsOf(range);
  const spans = spansOf(query);
  const at = { start: fromMs / 1000, end: toMs / 1000, allow_partial: true };
  return useQuery(JSON.stringify([spans, at, deep]), async (signal) => {
    // One step as long as the range: counts, not a course.
    const step = `${Math.ceil(at.end - at.start) + 1}s`;
    const all = deep ? `${spans} &>> { }` : spans;
    const [values, durations] = await Promise.all([
      getJson<MetricsAnswer>("/api/metrics/query_range", { params: { q: `${all} | compare({ }, ${VALUES})`, ...at, step, exemplars: 0 }, signal }),
      getJson<MetricsAnswer>("/api/metrics/query", { params: { q: `${spans} | quantile_over_time(duration, .5, .95, .99)`, ...at }, signal }),
    ]);
    const partial = [...new Set([values.message, durations.message])].filter(Boolean).join("; ");
    return { values, ...countsOf(values), p50: quantileNs(durations, 0.5), p95: quantileNs(durations, 0.95), p99: quantileNs(durations, 0.99), partial };
  });
}

function countsOf(values: MetricsAnswer): { spans: number; errorShare: number } {
  const { selected, differences } = differencesBetween(values, {});
  const status = differences.find((one) => one.field === STATUS);
  return { spans: selected, errorShare: status?.values.find((one) => one.literal === "error")?.selection ?? 0 };
}

function quantileNs(answer: MetricsAnswer, p: number): number | undefined {
  const series = answer.series?.find((one) => Number(find(one.labels, "p")) === p);
  return series && numberOf(series.value) * 1e9;
}
