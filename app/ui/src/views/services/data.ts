// Services of a range, who calls whom, and what can be asked about one of them.
import { getJson } from "../../api/client.ts";
import type { Range } from "../../state/range.ts";

export interface Stats {
  requests: number;
  errors: number;
  requestsPerSecond: number;
  errorShare: number;
  spans?: number;
  p50Ms?: number;
  p95Ms?: number;
  p99Ms?: number;
}

export interface ServiceNode extends Stats {
  name: string;
  kind: "service" | "database";
}

export interface ServiceEdge extends Stats {
  client: string;
  server: string;
  kind: "service" | "database";
}

/** Where the map comes from: metrics of a generator in a Prometheus, or spans. */
export type Source = "prometheus" | "traces";

export interface ServiceMap {
  source: Source;
  services: ServiceNode[];
  edges: ServiceEdge[];
  rangeSeconds: number;
  /** Services whose calls were not asked for, since there are too many. */
  leftOut: number;
  message?: string;
}

/** source: null: as the server has it set; around: a service whose connections are wanted first, or "" */
export const askMap = ({ fromMs, toMs }: Range, source: Source | null, around: string, signal: AbortSignal): Promise<ServiceMap> =>
  getJson<ServiceMap>("/api/service-map", {
    params: { start: fromMs / 1000, end: toMs / 1000, allow_partial: true, source, around: around || null },
    signal,
  });

/** A database and a service may have the same name. */
export const nodeId = (kind: string, name: string): string => `${kind}/${name}`;

export const shownName = (name: string): string => name || "(no service name)";
