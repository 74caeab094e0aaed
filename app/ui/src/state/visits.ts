// What was looked at: searches and traces, newest first, kept by the browser.
import { stored } from "./stored.ts";

export interface Visit {
  kind: "search" | "trace" | "metrics";
  /** Where it is: a URL of this page. */
  url: string;
  text: string;
  atMs: number;
}

const KEPT = 40;

const isVisits = (value: unknown): value is Visit[] =>
  Array.isArray(value) && value.every((one) => typeof one?.url === "string" && typeof one.text === "string" && one.url.startsWith("/"));

export const visits = stored<Visit[]>("local", "visits", [], isVisits);

/** Notes a visit; the same one again only moves up. */
export function noteVisit(kind: Visit["kind"], url: string, text: string): void {
  const others = visits.peek().filter((one) => one.kind !== kind || one.text !== text);
  visits.value = [{ kind, url, text, atMs: Date.now() }, ...others].slice(0, KEPT);
}
