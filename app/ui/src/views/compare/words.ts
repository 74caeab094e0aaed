import { duration } from "../../lib/format.ts";
import type { Difference, Kind } from "./model/align.ts";

/** "+120 ms", "−8 ms", "±0" */
export function signed(ns: number): string {
  if (Math.abs(ns) < 0.5) return "±0";
  return ns > 0 ? `+${duration(ns)}` : `−${duration(-ns)}`;
}

export const WORDS: Record<Kind | Difference["kind"], string> = {
  same: "same",
  slower: "slower",
  faster: "faster",
  new: "only in B",
  missing: "only in A",
  errors: "errors",
  count: "number",
};
