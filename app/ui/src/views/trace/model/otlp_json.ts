// OTLP JSON as other programs read it: ids in hex and enums as numbers. The API gives protobuf's JSON, as Tempo does.
import { fetchPage, idHex, type ResourceSpans, type TracePage } from "./span.ts";

const KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"].map((word) => `SPAN_KIND_${word}`);
const CODES = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

type Json = Record<string, unknown>;

/** The groups of a page in OTLP's own form. */
export function otlpGroups(page: TracePage): Json[] {
  return (page.trace?.resourceSpans ?? []).map(otlpGroup);
}

function otlpGroup(group: ResourceSpans): Json {
  const scopeSpans = (group.scopeSpans ?? []).map((scoped) => ({
    ...scoped,
    spans: (scoped.spans ?? []).map((span) => ({
      ...span,
      traceId: idHex(span.traceId),
      spanId: idHex(span.spanId),
      ...(span.parentSpanId ? { parentSpanId: idHex(span.parentSpanId) } : {}),
      kind: Math.max(0, KINDS.indexOf(span.kind ?? "")),
      status: { ...span.status, code: Math.max(0, CODES.indexOf(span.status?.code ?? "")) },
      ...(span.links ? { links: span.links.map((one) => ({ ...one, traceId: idHex(one.traceId), spanId: idHex(one.spanId) })) } : {}),
    })),
  }));
  return { ...group, scopeSpans };
}

const PAGE_SPANS = 5000;

/** The whole trace as a file, page by page. told: how many pages are here. Throws ApiError. */
export async function otlpFile(id: string, told: (pages: number) => void, signal: AbortSignal): Promise<Blob> {
  const parts: string[] = ['{"resourceSpans":['];
  let cursor = "";
  for (let pages = 1; ; pages += 1) {
    const page = await fetchPage(id, cursor, PAGE_SPANS, signal);
    const text = otlpGroups(page).map((group) => JSON.stringify(group)).join(",");
    if (text) parts.push(parts.length > 1 ? `,${text}` : text);
    told(pages);
    if (!page.nextCursor) break;
    cursor = page.nextCursor;
  }
  parts.push("]}\n");
  return new Blob(parts, { type: "application/json" });
}

/** Offers a file to the browser. */
export function saveFile(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
