// What may come next in a query: from the text before the cursor, and the API's tags and values.
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import { ApiError, getJson } from "../api/client.ts";
import type { TagNames, TagValues } from "../api/types.ts";
import { attribute, literal } from "../lib/traceql_text.ts";
import { loginCount } from "../state/session.ts";
import { FUNCTIONS, INTRINSICS, SCOPES, type Token, lex } from "./lex.ts";

/** What can stand at the end of a text: a field, a value of one, something that joins, or a function. */
export type Wanted =
  | { what: "field"; from: number }
  | { what: "value"; from: number; field: string; context: string }
  | { what: "join"; from: number }
  | { what: "pipe"; from: number }
  | { what: "function"; from: number };

/** text: up to the cursor. undefined: nothing can be said. */
export function wanted(text: string): Wanted | undefined {
  const tokens = lex(text);
  const last = tokens.at(-1);
  if (last?.kind === "comment") return undefined;
  // What the cursor touches is being written; before it stands what counts.
  const typing = last && last.to === text.length && last.kind !== "operator" && last.kind !== "open" && last.kind !== "close" && last.kind !== "comma" ? last : undefined;
  const before = typing ? tokens.slice(0, -1) : tokens;
  const from = typing?.from ?? text.length;
  const prior = before.at(-1);
  const depth = openBrackets(before);
  if (depth.at(-1)?.text !== "{") {
    if (prior?.text === "|") return { what: "function", from };
    if (depth.at(-1)?.text === "(") return { what: "field", from };
    return prior?.text === "}" || prior?.text === ")" ? { what: "pipe", from } : undefined;
  }
  const start = before.findLastIndex((token) => token.text === "{" || token.text === "&&" || token.text === "||" || token.text === "(");
  const condition = before.slice(start + 1);
  if (condition.length === 0) return { what: "field", from };
  if (condition.length === 1 && condition[0]!.kind === "word") return typing ? undefined : { what: "join", from };
  if (condition.length === 2 && condition[1]!.kind === "operator") {
    return { what: "value", from, field: condition[0]!.text, context: contextOf(text, before, start) };
  }
  return typing ? undefined : { what: "join", from };
}

function openBrackets(tokens: readonly Token[]): Token[] {
  const open: Token[] = [];
  for (const token of tokens) {
    if (token.kind === "open") open.push(token);
    else if (token.kind === "close") open.pop();
  }
  return open;
}

/** The conditions that are complete: values are looked for among spans that match them. */
function contextOf(text: string, before: readonly Token[], start: number): string {
  const open = before.findLastIndex((token) => token.text === "{");
  if (start <= open) return "{ }";
  return `${text.slice(before[open]!.from, before[start]!.from)} }`;
}

const cache = new Map<string, Promise<unknown>>();
const CACHE_MS = 30_000;

const TRIES = 5;
const TRY_AGAIN_MS = 1000;

/** An answer, as soon as there is one: a server that is busy or away for a moment is asked again. */
async function patient<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      const passes = error instanceof ApiError && (error.status === 0 || error.status === 429 || error.status >= 500);
      if (!passes || tries === TRIES) throw error;
      await new Promise((done) => setTimeout(done, TRY_AGAIN_MS));
    }
  }
}

/** The same question again within half a minute has the same answer. */
function cached<T>(path: string, params: Record<string, string | number>): Promise<T> {
  const key = `${loginCount.value} ${path} ${JSON.stringify(params)}`;
  let found = cache.get(key) as Promise<T> | undefined;
  if (!found) {
    found = patient(() => getJson<T>(path, { params }));
    cache.set(key, found);
    const forget = () => cache.delete(key);
    found.then(() => setTimeout(forget, CACHE_MS), forget);
  }
  return found;
}

export type Scoped = { scope: string; key: string; field: string };

/** All attributes, as TraceQL writes them. */
export async function tagFields(): Promise<Scoped[]> {
  const names = await cached<TagNames>("/api/v2/search/tags", { limit: 500 });
  return (names.scopes ?? [])
    .filter((scope) => scope.name !== "intrinsic")
    .flatMap((scope) => (scope.tags ?? []).map((key) => ({ scope: scope.name, key, field: attribute(scope.name, key) })));
}

export interface KnownValue {
  type: string;
  value: string;
  literal: string;
}

/** The values of a field among the spans that match. */
export async function fieldValues(field: string, q = "{ }", limit = 300): Promise<KnownValue[]> {
  const params: Record<string, string | number> = { limit };
  if (q !== "{ }") params["q"] = q;
  const path = `/api/v2/search/tag/${encodeURIComponent(field)}/values`;
  const answer = await cached<TagValues>(path, params);
  return (answer.tagValues ?? []).map(({ type, value }) => ({ type, value, literal: literal(type, value) }));
}

const JOINS = ["= ", "!= ", "=~ ", "!~ ", "> ", ">= ", "< ", "<= "];
const AFTER_CONDITION = ["&& ", "|| ", "}"];
const AFTER_SPANS = ["| ", "&& ", "|| ", ">> ", "> ", "<< ", "< ", "~ "];

const options = (texts: readonly string[], type: string): Completion[] => texts.map((label) => ({ label, type }));

/** CodeMirror's source of completions. */
export async function completions(context: CompletionContext): Promise<CompletionResult | null> {
  const text = context.state.sliceDoc(0, context.pos);
  const want = wanted(text);
  if (!want) return null;
  const filter = true;
  try {
    switch (want.what) {
      case "field":
        return { from: want.from, options: await fieldOptions(), filter };
      case "value":
        return { from: want.from, to: pastQuote(context, want.from), options: await valueOptions(want.field, want.context), filter };
      case "join":
        if (!context.explicit) return null;
        return { from: want.from, options: options([...JOINS, ...AFTER_CONDITION], "operator") };
      case "pipe":
        return context.explicit ? { from: want.from, options: options(AFTER_SPANS, "operator") } : null;
      case "function":
        return {
          from: want.from,
          options: FUNCTIONS.map(([label, detail]) => ({ label, detail, type: "function" })),
          filter,
        };
    }
  } catch {
    return null; // the server is away, or knows no answer: whoever writes goes on
  }
}

/** The quote that the editor has put behind the cursor belongs to the value. */
function pastQuote(context: CompletionContext, from: number): number {
  const quote = context.state.sliceDoc(from, from + 1);
  return quote === '"' && context.pos > from && context.state.sliceDoc(context.pos, context.pos + 1) === quote ? context.pos + 1 : context.pos;
}

async function fieldOptions(): Promise<Completion[]> {
  const tags = await tagFields();
  return [
    ...tags.map(({ field, scope }) => ({ label: field, type: "property", detail: scope, boost: scope === "resource" ? 2 : 1 })),
    ...INTRINSICS.map((label) => ({ label, type: "keyword", detail: "intrinsic", boost: label.includes(":") ? -1 : 3 })),
    ...SCOPES.map((scope) => ({ label: `${scope}.`, type: "namespace", boost: -2 })),
  ];
}

const FIXED: Record<string, readonly string[]> = {
  status: ["error", "ok", "unset"],
  kind: ["server", "client", "internal", "producer", "consumer", "unspecified"],
  duration: ["10ms", "100ms", "500ms", "1s", "5s"],
  traceDuration: ["100ms", "500ms", "1s", "5s", "30s"],
};

async function valueOptions(field: string, context: string): Promise<Completion[]> {
  const fixed = FIXED[field.replace(/^(span|trace):/, "")];
  if (fixed) return options(fixed, "constant");
  const values = await fieldValues(field, context);
  return values.map(({ literal: label, type }) => ({ label, detail: type, type: "text" }));
}
