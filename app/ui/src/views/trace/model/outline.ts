// The API's outline of a trace: GET /api/v2/traces/{id}/outline.
import { ask } from "../../../api/client.ts";
import { column, unpack } from "./packed.ts";

/** In `parent`: the span has none. */
export const ROOT = -1;
/** In `parent`: its parent is not there. */
export const MISSING = -2;

/** A value per span, in the order of `start`, unless it says otherwise. */
export interface Outline {
  id: string;
  spans: number;
  startNs: bigint;
  durationNs: number;
  rootName: string;
  rootService: string;
  /** What may be missing; "": nothing. */
  partial: string;
  names: readonly string[];
  services: readonly string[];
  /** ns from the start of the trace. */
  start: Float64Array;
  /** ns */
  duration: Float64Array;
  parent: Int32Array;
  name: Uint32Array;
  service: Uint32Array;
  kind: Uint8Array;
  status: Uint8Array;
  /** 8 bytes each. */
  spanId: Uint8Array;
  /** Rows whose parent is missing, and the ids of these parents. */
  orphan: Uint32Array;
  orphanParentId: Uint8Array;
  /** Per event: row of its span, ns from the start of the trace. */
  eventSpan: Uint32Array;
  eventTime: Float64Array;
  /** Per link: row of its span, row that it leads to (-1: elsewhere). */
  linkSpan: Uint32Array;
  linkTo: Int32Array;
}

export function readOutline(bytes: ArrayBuffer): Outline {
  const packed = unpack(bytes);
  const { header } = packed;
  const text = (name: string): string => (typeof header[name] === "string" ? header[name] : "");
  return {
    id: text("traceId"),
    spans: Number(header["spans"]),
    startNs: BigInt(text("startTimeUnixNano") || "0"),
    durationNs: Number(text("durationNano") || "0"),
    rootName: text("rootName"),
    rootService: text("rootServiceName"),
    partial: text("status") ? text("message") || "some spans may be missing" : "",
    names: header["names"] as string[],
    services: header["services"] as string[],
    start: column(packed, "start", Float64Array),
    duration: column(packed, "duration", Float64Array),
    parent: column(packed, "parent", Int32Array),
    name: column(packed, "name", Uint32Array),
    service: column(packed, "service", Uint32Array),
    kind: column(packed, "kind", Uint8Array),
    status: column(packed, "status", Uint8Array),
    spanId: column(packed, "spanId", Uint8Array),
    orphan: column(packed, "orphan", Uint32Array),
    orphanParentId: column(packed, "orphanParentId", Uint8Array),
    eventSpan: column(packed, "eventSpan", Uint32Array),
    eventTime: column(packed, "eventTime", Float64Array),
    linkSpan: column(packed, "linkSpan", Uint32Array),
    linkTo: column(packed, "linkTo", Int32Array),
  };
}

const ACCEPT = "application/vnd.stretto.columns";

/** Throws ApiError. */
export async function fetchOutline(id: string, signal: AbortSignal): Promise<Outline> {
  const response = await ask(`/api/v2/traces/${encodeURIComponent(id)}/outline`, { signal, accept: ACCEPT });
  return readOutline(await response.arrayBuffer());
}

/** The ids of the spans that match, 8 bytes each. Throws ApiError. */
export async function fetchMatches(id: string, wanted: { q?: string; text?: string }, signal: AbortSignal): Promise<Uint8Array> {
  const path = `/api/v2/traces/${encodeURIComponent(id)}/matches`;
  const response = await ask(path, { params: wanted, signal, accept: ACCEPT });
  return column(unpack(await response.arrayBuffer()), "spanId", Uint8Array);
}
