// All of one span: asked for when somebody looks at it.
import { ask, getJson } from "../../../api/client.ts";
import type { KeyValue } from "../../../api/types.ts";
import { spanIdOf, type Trace } from "./trace.ts";

export interface SpanEvent {
  timeUnixNano?: string;
  name?: string;
  attributes?: KeyValue[];
  droppedAttributesCount?: number;
}

export interface SpanLink {
  traceId?: string;
  spanId?: string;
  traceState?: string;
  attributes?: KeyValue[];
  droppedAttributesCount?: number;
}

export interface OtlpSpan {
  traceId?: string;
  spanId?: string;
  parentSpanId?: string;
  traceState?: string;
  name?: string;
  kind?: string;
  startTimeUnixNano?: string;
  endTimeUnixNano?: string;
  attributes?: KeyValue[];
  events?: SpanEvent[];
  links?: SpanLink[];
  status?: { code?: string; message?: string };
  droppedAttributesCount?: number;
  droppedEventsCount?: number;
  droppedLinksCount?: number;
}

export interface Scope {
  name?: string;
  version?: string;
  attributes?: KeyValue[];
}

export interface ResourceSpans {
  resource?: { attributes?: KeyValue[]; droppedAttributesCount?: number };
  scopeSpans?: { scope?: Scope; spans?: OtlpSpan[]; schemaUrl?: string }[];
  schemaUrl?: string;
}

export interface TracePage {
  trace?: { resourceSpans?: ResourceSpans[] };
  nextCursor?: string;
  status?: string;
  message?: string;
}

export interface WholeSpan {
  span: OtlpSpan;
  resource: NonNullable<ResourceSpans["resource"]>;
  scope: Scope;
  schemaUrl: string;
}

/** Ids of the API are base64. */
export function idHex(text: string | undefined): string {
  if (!text) return "";
  return Array.from(atob(text), (letter) => letter.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

const EXACT_NS = 2 ** 53;

/** undefined: it is not there any more. Throws ApiError. */
export async function fetchSpan(trace: Trace, row: number, signal: AbortSignal): Promise<WholeSpan | undefined> {
  const id = spanIdOf(trace, row);
  const path = `/api/v2/traces/${trace.id}`;
  const exact = Math.abs(trace.start[row]!) < EXACT_NS;
  // The page behind the place just before it: only this span is read, however large the trace.
  const params = exact ? { cursor: cursorBefore(trace.startNs + BigInt(Math.round(trace.start[row]!)), id), limit: 1 } : { q: `{ span:id = "${id}" }` };
  const page = await getJson<TracePage>(path, { params, signal });
  const all = spansOf(page).filter((one) => idHex(one.span.spanId) === id);
  const name = trace.names[trace.name[row]!];
  // Several spans may share an id, as the two sides of a call do in Zipkin.
  return all.find((one) => (one.span.name ?? "") === name && Number(endTime(one.span)) === Number(endOfRow(trace, row))) ?? all[0];
}

const endTime = (span: OtlpSpan): bigint => BigInt(span.endTimeUnixNano ?? 0);
const endOfRow = (trace: Trace, row: number): bigint => trace.startNs + BigInt(Math.round(trace.start[row]! + trace.duration[row]!));

export function cursorBefore(startNs: bigint, id: string): string {
  const before = BigInt(`0x${id}`) - 1n;
  return before < 0n ? `${startNs - 1n}-${"f".repeat(16)}` : `${startNs}-${before.toString(16).padStart(16, "0")}`;
}

export function spansOf(page: TracePage): WholeSpan[] {
  const found: WholeSpan[] = [];
  for (const group of page.trace?.resourceSpans ?? []) {
    for (const scoped of group.scopeSpans ?? []) {
      for (const span of scoped.spans ?? []) {
        found.push({ span, resource: group.resource ?? {}, scope: scoped.scope ?? {}, schemaUrl: group.schemaUrl ?? "" });
      }
    }
  }
  return found;
}

/** A page of the trace as the API gives it. Throws ApiError. */
export async function fetchPage(id: string, cursor: string, limit: number, signal: AbortSignal): Promise<TracePage> {
  const response = await ask(`/api/v2/traces/${encodeURIComponent(id)}`, { params: { cursor, limit }, signal });
  return (await response.json()) as TracePage;
}
