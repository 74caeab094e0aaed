// A search: its traces as they come, pages of more, and with live the newest on top.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { getJson, isAbort, streamJson } from "../../api/client.ts";
import type { FoundTrace, SearchAnswer, SearchMetrics } from "../../api/types.ts";
import { now } from "../../state/range.ts";
import { loginCount } from "../../state/session.ts";
import type { Order } from "./state.ts";

export interface Asking {
  query: string;
  start: number;
  end: number;
  order: Order;
}

export interface Found {
  traces: FoundTrace[];
  metrics: SearchMetrics | undefined;
  error: Error | undefined;
  loading: boolean;
  nextCursor: string | undefined;
  /** What the answer misses, where it misses something. */
  partial: string;
  tookMs: number;
  fresh: ReadonlySet<string>;
}

/** What is shown of each matched span, beside what the query names. A line of its own: the query may end in a comment. */
const withShown = (query: string): string => `${query}\n| select(name, status, resource.service.name)`;

type StreamLine = SearchAnswer & { done?: boolean };

export const PAGE = 50;
const LIVE_MS = 2000;
const LIVE_KEPT = 200;
const NOTHING: Found = {
  traces: [],
  metrics: undefined,
  error: undefined,
  loading: true,
  nextCursor: undefined,
  partial: "",
  tookMs: 0,
  fresh: new Set(),
};

export function useSearch(asking: Asking, live: boolean): Found & { more: () => void } {
  const [found, setFound] = useState<Found>(NOTHING);
  const controller = useRef<AbortController>(new AbortController());
  const { query, start, end, order } = asking;
  const login = loginCount.value;
  const asOf = now.value;

  const read = useCallback(
    (cursor: string, keep: boolean) => {
      controller.current.abort();
      const own = (controller.current = new AbortController());
      const began = performance.now();
      setFound((before) => ({ ...(keep ? before : { ...NOTHING, traces: [] }), error: undefined, loading: true }));
      const onLine = (line: StreamLine) => {
        if (own.signal.aborted) return;
        setFound((before) => ({
          ...before,
          traces: [...before.traces, ...(line.traces ?? [])],
          metrics: line.metrics ?? before.metrics,
          nextCursor: line.done ? line.nextCursor : undefined,
          partial: line.message ?? before.partial,
          tookMs: performance.now() - began,
          loading: !line.done,
        }));
      };
      const params = { q: withShown(query), start, end, order, limit: PAGE, spss: 5, cursor, allow_partial: true };
      streamJson<StreamLine>("/api/search/stream", onLine, { params, signal: own.signal }).catch((error: unknown) => {
        if (own.signal.aborted || isAbort(error)) return;
        setFound((before) => ({ ...before, error: error as Error, loading: false }));
      });
    },
    [query, start, end, order],
  );

  useEffect(() => {
    read("", false);
    return () => controller.current.abort();
  }, [read, login, asOf]);

  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => {
      const signal = controller.current.signal;
      const nowS = Math.ceil(Date.now() / 1000);
      const params = { q: withShown(query), start: nowS - 60, end: nowS + 1, limit: PAGE, spss: 5, allow_partial: true };
      getJson<SearchAnswer>("/api/search", { params, signal }).then(
        (answer) => setFound((before) => withNewest(before, answer.traces ?? [])),
        (error: unknown) => {
          if (!isAbort(error)) setFound((before) => ({ ...before, error: error as Error }));
        },
      );
    }, LIVE_MS);
    return () => clearInterval(timer);
  }, [live, query]);

  const more = useCallback(() => {
    if (found.nextCursor) read(found.nextCursor, true);
  }, [found.nextCursor, read]);
  return { ...found, more };
}

function withNewest(before: Found, newest: readonly FoundTrace[]): Found {
  const known = new Map(before.traces.map((trace) => [trace.traceID, trace]));
  const added = newest.filter((trace) => !known.has(trace.traceID));
  // What was there may have got further spans since.
  const current = new Map(newest.map((trace) => [trace.traceID, trace]));
  const traces = [...added, ...before.traces.map((trace) => current.get(trace.traceID) ?? trace)].slice(0, LIVE_KEPT);
  return { ...before, traces, error: undefined, fresh: new Set(added.map((trace) => trace.traceID)) };
}
