// Pieces of TraceQL text. Whatever a span says goes through here before it is part of a query.

/** A string of TraceQL. */
export function quoted(text: string): string {
  const escaped = text
    .replaceAll("\\", "\\\\")
    .replaceAll('"', '\\"')
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r")
    .replaceAll("\t", "\\t");
  return `"${escaped}"`;
}

const PLAIN_KEY = /^[\p{L}_][\p{L}\p{N}_.\-/]*$/u;

/** `span.http.route`, or `span."a b"` where the key needs quotes. */
export function attribute(scope: string, key: string): string {
  return `${scope}.${PLAIN_KEY.test(key) ? key : quoted(key)}`;
}

/** What matches a value of a type of the API: text in quotes, the others as they are. */
export function literal(type: string, value: string): string {
  return type === "string" ? quoted(value) : value;
}
