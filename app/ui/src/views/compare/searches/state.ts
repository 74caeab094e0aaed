// Two searches, from the URL: /compare?qa=…&froma=…&toa=…&qb=…&fromb=…&tob=…&deep=1&into=both
import { param, place, url } from "../../../router.ts";
import { DEFAULT_FROM, type RangeText, rangeTextOf } from "../../../state/range.ts";
import { ROOTS } from "../../../traceql/form.ts";

export type Side = "a" | "b";
export const SIDES: readonly Side[] = ["a", "b"];

/** What a value that is clicked is added to. */
export type Into = Side | "both";

export interface Search {
  query: string;
  range: RangeText;
}

/** Whether the URL is about searches, not about traces. */
export const isOfSearches = (): boolean => SIDES.some((side) => place.value.query.has(`q${side}`));

export const rangeNames = (side: Side): RangeText => ({ from: `from${side}`, to: `to${side}` });

export const searchOf = (side: Side): Search => ({ query: param(`q${side}`) || ROOTS, range: rangeTextOf(rangeNames(side)) });

export const intoWhich = (): Into => (["a", "both"] as const).find((one) => one === param("into")) ?? "b";

/** a: how it should be; b: what is looked at. */
export function searchesUrl(a: Search, b: Search): string {
  return url("/compare", { ...paramsOf("a", a), ...paramsOf("b", b) });
}

export function paramsOf(side: Side, { query, range }: Search): Record<string, string> {
  const names = rangeNames(side);
  // The query always: it is what says that searches are compared.
  return { [`q${side}`]: query, [names.from]: range.from === DEFAULT_FROM ? "" : range.from, [names.to]: range.to === "now" ? "" : range.to };
}
