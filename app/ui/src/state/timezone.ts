// Every time of the page is in the viewer's zone or in UTC, by choice.
import { oneOf, stored } from "./stored.ts";

export type Zone = "local" | "utc";
export const zone = stored<Zone>("local", "zone", "local", oneOf<Zone>("local", "utc"));

/** The zone's name as Intl wants it; undefined: the viewer's. */
export const zoneName = (): string | undefined => (zone.value === "utc" ? "UTC" : undefined);

/** What to write beside a time. */
export function zoneLabel(): string {
  if (zone.value === "utc") return "UTC";
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
}
