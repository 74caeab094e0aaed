// Changes to the text of a query that keep what is written there: conditions are added, nothing is lost.
import { type Token, lex } from "./lex.ts";

/** What stands before the first "|" outside of all brackets: the spans, without what is made of them. Something may follow. */
export function spansOf(query: string): string {
  const at = pipeAt(lex(query));
  const text = closed((at === undefined ? query : query.slice(0, at)).trim());
  return lex(text).some((token) => token.kind !== "comment") ? text : `${text}{ }`;
}

/** What stands from the first "|" on; "" where there is none. */
export function pipelineOf(query: string): string {
  const at = pipeAt(lex(query));
  return at === undefined ? "" : query.slice(at).trim();
}

function pipeAt(tokens: readonly Token[]): number | undefined {
  let depth = 0;
  for (const token of tokens) {
    if (token.kind === "open") depth += 1;
    else if (token.kind === "close") depth -= 1;
    else if (depth === 0 && token.text === "|") return token.from;
  }
  return undefined;
}

const METRICS = /^(rate|count_over_time|(min|max|avg|sum|quantile|histogram)_over_time|compare)$/;

/** Whether the query asks for metrics: a search shows the spans that it counts. */
export function isMetrics(query: string): boolean {
  const tokens = lex(query);
  return tokens.some((token, at) => token.kind === "word" && METRICS.test(token.text) && tokens[at - 1]?.text === "|");
}

/**
 * The query, with a condition that its spans must meet, too.
 *
 * The spans that a structural operator shows are those of its last filter. Where there is no filter to extend, as in
 * `({ a } || { b })`, the condition is one of its own.
 */
export function addCondition(query: string, condition: string): string {
  const tokens = lex(query).filter((token) => token.kind !== "comment");
  const at = pipeAt(tokens) ?? query.length;
  const before = tokens.filter((token) => token.from < at);
  if (before.length === 0) return `{ ${condition} }${query ? ` ${query}` : ""}`;
  const open = before.findLastIndex((token) => token.text === "{");
  if (open < 0) return `{ ${condition} } | ${query}`; // `count() > 2`, which is about all spans
  const close = before.findIndex((token, number) => number > open && token.text === "}");
  const wraps = before.slice(0, open).some((token) => token.text === "(" || isUnion(token));
  if (close < 0 || wraps) {
    const spans = query.slice(0, at).trim();
    return `(${closed(spans)}) && { ${condition} } ${query.slice(at)}`.trim();
  }
  const inner = closed(query.slice(before[open]!.to, before[close]!.from).trim());
  const joined = inner ? `${hasOr(inner) ? `(${inner})` : inner} && ${condition}` : condition;
  return `${query.slice(0, before[open]!.to)} ${joined} ${query.slice(before[close]!.from)}`;
}

/** The query, of those traces that also have a span with a condition. */
export function addSpanOfTrace(query: string, condition: string): string {
  return `${spansOf(query)} && { ${condition} } ${pipelineOf(query)}`.trim();
}

/** Whether it is of root spans: all of their traces' spans are then those below. */
export const isOfRoots = (query: string): boolean => /^\{\s*nestedSetParent\s*<\s*0\b/.test(query) && !spansOf(query).includes("||");

/** A text that something may follow: a comment up to the end of its line would swallow it. */
const closed = (text: string): string => (lex(text).at(-1)?.text.startsWith("//") ? `${text}\n` : text);

const isUnion = (token: Token): boolean => token.text === "||" || token.text === "&&" || token.text.startsWith("&");

const hasOr = (inner: string): boolean => lex(inner).some((token) => token.text === "||");
