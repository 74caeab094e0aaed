// Where in a query an error is: the server says line and column, and marks the place with carets.

export interface Place {
  from: number;
  to: number;
  message: string;
}

/** The place of an error in the query; undefined where its text names none. */
export function placeOf(error: string, query: string): Place | undefined {
  const lines = error.split("\n");
  const found = /^(\d+):(\d+): (.*)$/.exec(lines[0] ?? "");
  if (!found) return undefined;
  const line = Number(found[1]);
  // The server counts characters, not UTF-16 units.
  const before = query.split("\n").slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  const rest = [...query.slice(before)];
  const skipped = rest.slice(0, Number(found[2]) - 1).join("").length;
  const from = Math.min(before + skipped, query.length);
  const carets = Math.max(1, /\^+/.exec(lines[2] ?? "")?.[0].length ?? 1);
  const to = Math.min(query.length, from + rest.slice(Number(found[2]) - 1, Number(found[2]) - 1 + carets).join("").length);
  const hint = lines.slice(3).join(" ").trim();
  return { from, to: Math.max(from, to), message: hint ? `${found[3]}. ${hint}` : found[3]! };
}
