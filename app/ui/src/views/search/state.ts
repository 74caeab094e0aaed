// What the search shows, from its URL.
import { param, setQuery, url } from "../../router.ts";
import { type Selection, durationLiteral } from "../../charts/grid.ts";
import { type Range, inSeconds, range } from "../../state/range.ts";
import { addCondition } from "../../traceql/edit.ts";
import { ROOTS } from "../../traceql/form.ts";

export type Order = "start" | "duration";

export const queryText = (): string => param("q") || ROOTS;
export const order = (): Order => (param("order") === "duration" ? "duration" : "start");
export const isLive = (): boolean => param("live") === "1";

/** Which spans are compared with the rest, of ?diff=; "where": those that meet the condition ?where=. */
export type DiffKind = "marked" | "errors" | "slow" | "where";
const DIFF_KINDS: readonly DiffKind[] = ["marked", "errors", "slow", "where"];
export const diffKind = (): DiffKind | undefined => DIFF_KINDS.find((kind) => kind === param("diff"));
export const whereText = (): string => param("where");

/** Whether all spans of the traces are compared, not only those that match. */
export const isDeep = (): boolean => param("deep") === "1";

/** ?mark=from,to,min,max: unix milliseconds and seconds; what is empty is open. */
export function marked(): Selection {
  const [from, to, min, max] = param("mark").split(",");
  const selection: Selection = {};
  if (isNumber(from)) selection.fromMs = Number(from);
  if (isNumber(to)) selection.toMs = Number(to);
  if (isNumber(min)) selection.minS = Number(min);
  if (isNumber(max)) selection.maxS = Number(max);
  return selection;
}

const isNumber = (text: string | undefined): text is string => text !== undefined && text !== "" && Number.isFinite(Number(text));

export const isMarked = (selection: Selection): boolean => Object.keys(selection).length > 0;

export function setMark(selection: Selection | null): void {
  const text = selection && [selection.fromMs, selection.toMs, selection.minS, selection.maxS].map((one) => one ?? "").join(",");
  setQuery({ mark: text && text !== ",,," ? text : null, diff: diffKind() === "marked" && !selection ? null : param("diff") });
}

/** The conditions on the duration that a mark means. */
export function durationCondition({ minS, maxS }: Selection): string {
  const parts: string[] = [];
  if (minS !== undefined) parts.push(`duration >= ${durationLiteral(minS)}`);
  if (maxS !== undefined) parts.push(`duration <= ${durationLiteral(maxS)}`);
  return parts.join(" && ");
}

/** The query and range of what is marked. */
export function narrowed(query: string, selection: Selection, whole: Range): { query: string; range: Range } {
  const condition = durationCondition(selection);
  return {
    query: condition ? addCondition(query, condition) : query,
    range: { fromMs: selection.fromMs ?? whole.fromMs, toMs: selection.toMs ?? whole.toMs },
  };
}

/** The URL of a search; for links of other views. */
export function searchUrl(query: string, asked?: Range): string {
  return url("/search", { q: query, from: asked && Math.floor(asked.fromMs), to: asked && Math.ceil(asked.toMs) });
}

export const secondsOfRange = (): { start: number; end: number } => inSeconds(range.value);
