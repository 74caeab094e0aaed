// Conditions of TraceQL from what a span has.
import type { AnyValue } from "../../../api/types.ts";
import { attribute, quoted } from "../../../lib/traceql_text.ts";

export type Scope = "span" | "resource" | "event" | "link" | "instrumentation";

/** `span.http.route = "/x"`; undefined: TraceQL cannot compare such a value. */
export function condition(scope: Scope, key: string, value: AnyValue | undefined, op: "=" | "!="): string | undefined {
  const literal = literalOf(value);
  if (literal === undefined) return undefined;
  const field = scope === "event" || scope === "link" || scope === "instrumentation" ? `${scope}.${attribute("", key).slice(1)}` : attribute(scope, key);
  return `${field} ${op} ${literal}`;
}

function literalOf(value: AnyValue | undefined): string | undefined {
  if (!value) return undefined;
  if (value.stringValue !== undefined) return quoted(value.stringValue);
  if (value.intValue !== undefined) return String(value.intValue);
  if (value.boolValue !== undefined) return String(value.boolValue);
  if (value.doubleValue !== undefined) {
    const number = Number(value.doubleValue);
    if (!Number.isFinite(number)) return undefined;
    const text = String(value.doubleValue);
    return /^-?\d+$/.test(text) ? `${text}.0` : /e/i.test(text) ? undefined : text;
  }
  return undefined;
}

/** Adds a condition to a filter, or begins one. */
export function withCondition(filter: string, more: string): string {
  const inner = /^\s*\{([^{}]*)\}\s*$/.exec(filter)?.[1]?.trim();
  return inner ? `{ ${inner} && ${more} }` : `{ ${more} }`;
}
