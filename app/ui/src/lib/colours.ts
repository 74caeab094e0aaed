// One colour for each service, the same in every view and tab, and after a reload: the browser keeps who has which.
import { stored } from "../state/stored.ts";

/** Pairs for light and dark, apart in hue and all readable on the ground of their theme. */
const PAIRS: readonly (readonly [string, string])[] = [
  ["#0f766e", "#2dd4bf"],
  ["#6d28d9", "#a78bfa"],
  ["#b45309", "#fbbf24"],
  ["#1d4ed8", "#60a5fa"],
  ["#be185d", "#f472b6"],
  ["#4d7c0f", "#a3e635"],
  ["#7c2d12", "#fdba74"],
  ["#0369a1", "#38bdf8"],
  ["#a21caf", "#e879f9"],
  ["#15803d", "#4ade80"],
  ["#9f1239", "#fda4af"],
  ["#4338ca", "#818cf8"],
];

type Slots = Readonly<Record<string, number>>;

/** So many names are kept; others have a colour as long as the page lasts. */
const KEPT_MAX = 300;
const kept = stored<Slots>("local", "colours", {}, areSlots);
const known = new Map<string, number>(Object.entries(kept.peek()));
let saving = false;

function areSlots(value: unknown): value is Slots {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((one) => Number.isInteger(one) && one >= 0 && one < PAIRS.length);
}

/** Names get colours in turn from where their hash begins: no two of the first twelve are alike. */
function slot(name: string): number {
  let found = known.get(name);
  if (found === undefined) {
    const taken = new Set(known.values());
    found = hash(name) % PAIRS.length;
    if (taken.size < PAIRS.length) while (taken.has(found)) found = (found + 1) % PAIRS.length;
    known.set(name, found);
    if (known.size <= KEPT_MAX) save();
  }
  return found;
}

/** Later: colours are asked for while the page is drawn. */
function save(): void {
  if (saving) return;
  saving = true;
  queueMicrotask(() => {
    saving = false;
    kept.value = Object.fromEntries(known);
  });
}

function hash(text: string): number {
  let value = 2166136261;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 16777619);
  return value >>> 0;
}

export function colourOf(name: string, dark: boolean): string {
  return PAIRS[slot(name)]![dark ? 1 : 0];
}

/** The colour of the nth series of a chart. */
export function seriesColour(n: number, dark: boolean): string {
  return PAIRS[n % PAIRS.length]![dark ? 1 : 0];
}
