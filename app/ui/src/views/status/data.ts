import { ApiError, ask, getJson, isAbort } from "../../api/client.ts";
import type { PageConfig } from "../../api/page_config.ts";
import { type Metrics, parseMetrics } from "./prometheus.ts";

export interface Offsets {
  partition: number;
  next_offset: number;
  end_offset?: number;
  lag?: number;
  flushed?: number;
}

export interface Member {
  id: string;
  targets: string[];
  state: string;
  address: string;
  this_process: boolean;
  version: string;
  zone?: string;
  registered_timestamp?: string;
  heartbeat_timestamp?: string;
}

export interface Partition extends Omit<Offsets, "partition"> {
  id: number;
  state: string;
  owner_ids: string[];
}

export interface Listed<T> {
  rows: T[];
  /** Why there may be more. */
  message: string;
}

export interface Overview {
  ready: { ok: boolean; text: string };
  members: Listed<Member>;
  partitions: Listed<Partition>;
  metrics: Metrics | undefined;
  config: PageConfig | undefined;
  /** What could not be asked. */
  problems: string[];
}

export async function askOverview(signal: AbortSignal): Promise<Overview> {
  const problems: string[] = [];
  const unless = async <T>(what: string, asking: Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await asking;
    } catch (error) {
      // Without an answer at all, or a right to one, there is no overview.
      if (isAbort(error) || (error instanceof ApiError && [0, 401, 403].includes(error.status))) throw error;
      problems.push(`${what}: ${(error as Error).message}`);
      return otherwise;
    }
  };
  const [ready, members, partitions, metrics, config] = await Promise.all([
    askReady(signal),
    unless("members", askList<Member>("/memberlist", "members", signal), { rows: [], message: "" }),
    unless("partitions", askList<Partition>("/partition-ring", "partitions", signal), { rows: [], message: "" }),
    unless("metrics", ask("/metrics", { signal, accept: "text/plain" }).then((answer) => answer.text()).then(parseMetrics), undefined),
    unless("versions", getJson<PageConfig>("/api/page/config", { signal }), undefined),
  ]);
  return { ready, members, partitions, metrics, config, problems };
}

async function askReady(signal: AbortSignal): Promise<{ ok: boolean; text: string }> {
  try {
    return { ok: true, text: await (await ask("/ready", { signal, accept: "text/plain" })).text() };
  } catch (error) {
    if (error instanceof ApiError && error.status === 503) return { ok: false, text: error.message };
    throw error;
  }
}

async function askList<T>(path: string, name: string, signal: AbortSignal): Promise<Listed<T>> {
  const answer = await getJson<Record<string, unknown>>(path, { signal });
  return { rows: (answer[name] as T[] | undefined) ?? [], message: (answer["message"] as string | undefined) ?? "" };
}

export const askText = async (path: string, params: Record<string, string>, signal: AbortSignal): Promise<string> =>
  (await ask(path, { params, signal, accept: "application/yaml" })).text();
