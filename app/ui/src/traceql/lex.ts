// TraceQL's tokens: for colours, completion, and careful changes of a query's text. The server alone parses it.

export type Kind = "comment" | "string" | "number" | "word" | "operator" | "open" | "close" | "comma" | "other";

export interface Token {
  kind: Kind;
  text: string;
  from: number;
  to: number;
}

const PATTERNS: readonly (readonly [Kind, RegExp])[] = [
  ["comment", /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/y],
  ["string", /"(?:[^"\\\n]|\\[\s\S])*"?|`[^`]*`?/y],
  ["number", /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?:(?:ns|us|µs|ms|s|m|h|d)(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))*)?/y],
  // A key may have quoted parts, and ends where an operator can stand.
  ["word", /(?:[\p{L}_]|\.(?=[\p{L}_"]))(?:[^\s{}()=<>!~,|&+*^%"'`]|(?<=\.)"(?:[^"\\\n]|\\.)*"?)*/uy],
  ["operator", /&>>|&<<|!>>|!<<|&>|&<|!>|!<|!~|=~|!=|<=|>=|>>|<<|&&|\|\||&~|[=<>!~|+\-*\/^%]/y],
  ["open", /[{(]/y],
  ["close", /[})]/y],
  ["comma", /,/y],
];

/** All tokens but white space; together with it they are the whole text. */
export function lex(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    if (/\s/.test(text[at]!)) {
      at += 1;
      continue;
    }
    const token = next(text, at);
    tokens.push(token);
    at = token.to;
  }
  return tokens;
}

function next(text: string, from: number): Token {
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = from;
    const found = pattern.exec(text);
    if (found && found[0]) return { kind, text: found[0], from, to: from + found[0].length };
  }
  const length = text.codePointAt(from)! > 0xffff ? 2 : 1;
  return { kind: "other", text: text.slice(from, from + length), from, to: from + length };
}

export const INTRINSICS: readonly string[] = [
  "name", "status", "statusMessage", "kind", "duration", "rootName", "rootServiceName", "traceDuration",
  "nestedSetParent", "nestedSetLeft", "nestedSetRight",
  "span:id", "span:parentID", "span:name", "span:kind", "span:status", "span:statusMessage", "span:duration", "span:childCount",
  "trace:id", "trace:duration", "trace:rootName", "trace:rootService",
  "event:name", "event:timeSinceStart", "link:traceID", "link:spanID",
  "instrumentation:name", "instrumentation:version",
];

export const SCOPES: readonly string[] = ["resource", "span", "event", "link", "instrumentation"];

export const FUNCTIONS: readonly (readonly [string, string])[] = [
  ["rate()", "spans a second"],
  ["count_over_time()", "spans in each step"],
  ["quantile_over_time(duration, .5, .95, .99)", "quantiles of a value"],
  ["histogram_over_time(duration)", "how a value is spread"],
  ["avg_over_time(duration)", "mean of a value"],
  ["min_over_time(duration)", "least of a value"],
  ["max_over_time(duration)", "most of a value"],
  ["sum_over_time(duration)", "sum of a value"],
  ["compare({ status = error })", "what is different about some spans"],
  ["count()", "spans of a trace: | count() > 2"],
  ["avg(duration)", "of the spans of a trace"],
  ["min(duration)", "of the spans of a trace"],
  ["max(duration)", "of the spans of a trace"],
  ["sum(duration)", "of the spans of a trace"],
  ["select(name)", "fields to show beside each span"],
  ["by(resource.service.name)", "groups of the spans of a trace"],
  ["topk(10)", "the largest series"],
  ["bottomk(10)", "the smallest series"],
];
