// A form that writes TraceQL, and reads what it could have written: { a && b && c }.
import { quoted } from "../lib/traceql_text.ts";
import { type Token, lex } from "./lex.ts";

export type SpanScope = "all" | "roots" | "server" | "client" | "consumer" | "producer" | "internal";

export interface Tag {
  /** As TraceQL writes it: span.http.route */
  field: string;
  op: string;
  /** A literal: "text", 500, true, 1.5s */
  value: string;
}

export interface Form {
  spans: SpanScope;
  service: string;
  operation: string;
  /** Durations as TraceQL writes them, or "". */
  min: string;
  max: string;
  status: "" | "error" | "ok" | "unset";
  tags: Tag[];
}

export const EMPTY_FORM: Form = { spans: "all", service: "", operation: "", min: "", max: "", status: "", tags: [] };
export const ROOTS = "{ nestedSetParent < 0 }";
export const OPERATORS = ["=", "!=", "=~", "!~", ">", ">=", "<", "<="] as const;

/** The query of a form. */
export function toTraceql(form: Form): string {
  const parts: string[] = [];
  if (form.spans === "roots") parts.push("nestedSetParent < 0");
  else if (form.spans !== "all") parts.push(`kind = ${form.spans}`);
  if (form.service) parts.push(`resource.service.name = ${quoted(form.service)}`);
  if (form.operation) parts.push(`name = ${quoted(form.operation)}`);
  if (form.min) parts.push(`duration >= ${form.min}`);
  if (form.max) parts.push(`duration <= ${form.max}`);
  if (form.status) parts.push(`status = ${form.status}`);
  for (const tag of form.tags) if (tag.field) parts.push(`${tag.field} ${tag.op} ${tag.value || '""'}`);
  return parts.length ? `{ ${parts.join(" && ")} }` : "{ }";
}

/** The form of a query; undefined where a form cannot say it. */
export function fromTraceql(query: string): Form | undefined {
  const tokens = lex(query);
  if (tokens.length === 0) return { ...EMPTY_FORM, tags: [] };
  if (tokens[0]!.text !== "{" || tokens.at(-1)!.text !== "}" || tokens.length < 2) return undefined;
  const form: Form = { ...EMPTY_FORM, tags: [] };
  const inner = tokens.slice(1, -1);
  if (inner.length === 0) return form;
  for (const condition of split(inner)) {
    const tag = tagOf(condition);
    if (!tag || !place(form, tag)) return undefined;
  }
  return form;
}

function split(tokens: readonly Token[]): Token[][] {
  const parts: Token[][] = [[]];
  for (const token of tokens) {
    if (token.text === "&&") parts.push([]);
    else parts.at(-1)!.push(token);
  }
  return parts;
}

const isOperator = (text: string): boolean => (OPERATORS as readonly string[]).includes(text);
const DURATION = /^[\d.]+(ns|us|µs|ms|s|m|h|d)/;

/** field op literal, or undefined. */
function tagOf(tokens: readonly Token[]): Tag | undefined {
  const [field, op, value, more] = tokens;
  if (!field || !op || !value || field.kind !== "word" || !isOperator(op.text)) return undefined;
  if (field.text === "true" || field.text === "false" || field.text === "nil") return undefined;
  if (value.text === "-" && more?.kind === "number" && tokens.length === 4) {
    return { field: field.text, op: op.text, value: `-${more.text}` };
  }
  if (tokens.length !== 3) return undefined;
  const literal = value.kind === "string" || value.kind === "number" || (value.kind === "word" && isKeyword(value.text));
  if (!literal || (value.kind === "string" && !isWhole(value.text))) return undefined;
  return { field: field.text, op: op.text, value: value.text };
}

const KEYWORDS = new Set([
  "true", "false", "nil", "ok", "error", "unset", "unspecified", "internal", "server", "client", "producer", "consumer",
]);
const isKeyword = (text: string): boolean => KEYWORDS.has(text);
const isWhole = (text: string): boolean => text.length > 1 && text.endsWith(text[0]!);

/** The text of a string literal with ordinary escapes; undefined for others. */
export function unquoted(literal: string): string | undefined {
  if (literal.startsWith("`")) return literal.slice(1, -1);
  if (!literal.startsWith('"')) return undefined;
  let plain = true;
  const text = literal.slice(1, -1).replace(/\\([\s\S])/g, (_, escaped: string) => {
    const meant = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" }[escaped];
    if (meant === undefined) plain = false;
    return meant ?? "";
  });
  return plain ? text : undefined;
}

/** Puts a condition into its field of the form, if that is free; false where the form would lose something. */
function place(form: Form, tag: Tag): boolean {
  const text = unquoted(tag.value);
  if (tag.op === "=" && text && tag.field === "resource.service.name" && !form.service) form.service = text;
  else if (tag.op === "=" && text && tag.field === "name" && !form.operation) form.operation = text;
  else if (tag.field === "duration" && tag.op === ">=" && !form.min && DURATION.test(tag.value)) form.min = tag.value;
  else if (tag.field === "duration" && tag.op === "<=" && !form.max && DURATION.test(tag.value)) form.max = tag.value;
  else if (tag.field === "status" && tag.op === "=" && !form.status && isStatus(tag.value)) form.status = tag.value;
  else if (tag.field === "kind" && tag.op === "=" && form.spans === "all" && isKind(tag.value)) form.spans = tag.value;
  else if (tag.field === "nestedSetParent" && tag.op === "<" && tag.value === "0" && form.spans === "all") form.spans = "roots";
  else form.tags.push(tag);
  return true;
}

const isStatus = (text: string): text is "error" | "ok" | "unset" => text === "error" || text === "ok" || text === "unset";
const isKind = (text: string): text is SpanScope => /^(server|client|consumer|producer|internal)$/.test(text);
