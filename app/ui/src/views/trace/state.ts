// What the trace view shows: of the URL what can be shared, of this object what is only for now.
import { type ReadonlySignal, type Signal, computed, signal } from "@preact/signals";
import { param, setQuery } from "../../router.ts";
import { type Bottleneck, bottleneck } from "./model/bottleneck.ts";
import { type CriticalPath, criticalPath, mainTop } from "./model/critical_path.ts";
import { both, type Found, longerThan } from "./model/find.ts";
import { findFolds, type Folds } from "./model/folds.ts";
import { type Gap, gaps } from "./model/gaps.ts";
import { collapsedBelow, collapsedByService, type Lines, linesOf, reveal, type Shown, withAncestors } from "./model/rows.ts";
import { rowOfId, spanIdOf, type Trace } from "./model/trace.ts";

export type Tab = "waterfall" | "flame" | "statistics" | "spans" | "json";
export const TABS: readonly Tab[] = ["waterfall", "flame", "statistics", "spans", "json"];

/** ns from the start of the trace. */
export interface Zoom {
  from: number;
  to: number;
}

const GAP_SHARE = 0.01;
const GAPS_MAX = 200;
const ZOOM_NS_MIN = 50;
const NS_PER_MS = 1e6;
const FEW_LINES = 20;

export class TraceState {
  readonly folds: Folds;
  readonly path: CriticalPath;
  readonly bottleneck: Bottleneck | undefined;
  readonly gaps: readonly Gap[];
  /** All of the trace, with what lies before its start and behind its end. */
  readonly whole: Zoom;
  readonly shown: Signal<Shown>;
  /** What the keys move from: a row, or the line of a group as -2 - its number; -1: nothing yet. */
  readonly cursor = signal(-1);
  /** What was found last; undefined: nothing is looked for. */
  readonly found = signal<Found | undefined>(undefined);
  readonly showPath = signal(true);
  readonly showGaps = signal(false);
  /** A service whose spans stand out; "": none. */
  readonly service = signal("");
  /** While the mouse drags. */
  readonly dragged = signal<Zoom | undefined>(undefined);

  readonly tab: ReadonlySignal<Tab> = computed(() => {
    const asked = param("tab") as Tab;
    return TABS.includes(asked) ? asked : "waterfall";
  });
  /** The row whose details are open; -1: none. */
  readonly selected: ReadonlySignal<number> = computed(() => (param("span") ? rowOfId(this.trace, param("span")) : -1));
  readonly find = computed(() => param("find"));
  readonly onlyFound = computed(() => param("only") === "1");
  /** In percent of the trace; 0: all. */
  readonly least = computed(() => Math.min(100, Math.max(0, Number(param("min")) || 0)));
  readonly zoom: ReadonlySignal<Zoom> = computed(() => this.dragged.value ?? parseZoom(param("zoom"), this.whole));
  readonly isZoomed = computed(() => this.zoom.value.from > this.whole.from || this.zoom.value.to < this.whole.to);
  readonly lines: ReadonlySignal<Lines>;

  constructor(readonly trace: Trace) {
    this.folds = findFolds(trace);
    this.path = criticalPath(trace, mainTop(trace));
    this.bottleneck = bottleneck(trace, this.path);
    this.whole = wholeOf(trace);
    this.gaps = gaps(trace, trace.durationNs * GAP_SHARE, GAPS_MAX);
    this.shown = signal<Shown>({ collapsed: new Uint8Array(trace.rows), unfolded: new Set(), folding: true });
    const keep = computed(() => {
      const found = this.onlyFound.value ? this.found.value?.matches : undefined;
      const long = this.least.value > 0 ? longerThan(trace, this.least.value / 100) : undefined;
      const wanted = both(found, long);
      return wanted && withAncestors(trace, wanted);
    });
    this.openFew();
    this.lines = computed(() => linesOf(trace, this.folds, { ...this.shown.value, keep: keep.value }));
    const selected = this.selected.peek();
    if (selected >= 0) {
      this.cursor.value = selected;
      this.reveal(selected);
    }
  }

  /** Where folding leaves hardly anything to see, groups that have something below them are shown one by one. */
  private openFew(): void {
    const { trace, folds } = this;
    for (;;) {
      const shown = this.shown.peek();
      const { count, row, group } = linesOf(trace, folds, shown);
      if (count > FEW_LINES) return;
      const line = group.findIndex((of, at) => of >= 0 && !shown.unfolded.has(of) && trace.size[row[at]!]! > 1);
      if (line < 0) return;
      this.shown.value = { ...shown, unfolded: new Set([...shown.unfolded, group[line]!]) };
    }
  }

  /** Opens the details of a row, or with -1 closes them. */
  select(row: number, options: { replace?: boolean } = {}): void {
    if (row >= 0) {
      this.cursor.value = row;
      this.reveal(row);
    }
    const id = row < 0 ? "" : spanIdOf(this.trace, row);
    if (id !== param("span")) setQuery({ span: id }, { replace: true, ...options });
  }

  /** Moves the cursor; open details go along. */
  moveTo(row: number): void {
    this.cursor.value = row;
    if (this.selected.peek() >= 0) this.select(row, { replace: true });
  }

  /** Where the cursor is; -1: nowhere that is shown. */
  readonly cursorLine: ReadonlySignal<number> = computed(() => {
    const at = this.cursor.value;
    const lines = this.lines.value;
    if (at === -1) return -1;
    return at >= 0 ? lines.lineOf(at) : lines.lineOfGroup(-2 - at);
  });

  /** The span that the cursor is on, of a group the first; -1: none. */
  cursorRow(): number {
    const at = this.cursor.value;
    return at >= -1 ? at : this.folds.members[-2 - at]![0]!;
  }

  /** Puts the cursor on a line. */
  moveToLine(line: number): void {
    const { row, group } = this.lines.peek();
    if (group[line]! >= 0) this.cursor.value = -2 - group[line]!;
    else this.moveTo(row[line]!);
  }

  reveal(row: number): void {
    const shown = reveal(this.trace, this.folds, this.shown.peek(), row);
    const before = this.shown.peek();
    if (shown.collapsed !== before.collapsed || shown.unfolded !== before.unfolded) this.shown.value = shown;
  }

  /** Opens or closes what is below a line. */
  toggle(line: number, open?: boolean): void {
    const { row, group } = this.lines.peek();
    const shown = this.shown.peek();
    const of = group[line] ?? -1;
    if (of >= 0) {
      const unfolded = new Set(shown.unfolded);
      if (open ?? !unfolded.has(of)) unfolded.add(of);
      else unfolded.delete(of);
      this.shown.value = { ...shown, unfolded };
      return;
    }
    const at = row[line];
    if (at === undefined) return;
    const collapsed = shown.collapsed.slice();
    collapsed[at] = (open ?? collapsed[at] === 1) ? 0 : 1;
    this.shown.value = { ...shown, collapsed };
  }

  /** level: 0 opens all */
  collapseTo(level: number): void {
    const collapsed = level > 0 ? collapsedBelow(this.trace, level) : new Uint8Array(this.trace.rows);
    this.shown.value = { ...this.shown.peek(), collapsed };
  }

  collapseByService(): void {
    this.shown.value = { ...this.shown.peek(), collapsed: collapsedByService(this.trace) };
  }

  setFolding(folding: boolean): void {
    this.shown.value = { ...this.shown.peek(), folding, unfolded: new Set() };
  }

  /** Shows these ns; undefined: all of them. */
  zoomTo(zoom: Zoom | undefined, options: { replace?: boolean } = {}): void {
    this.dragged.value = undefined;
    const text = zoom ? zoomText(clamp(zoom, this.whole), this.whole) : "";
    if (text !== param("zoom")) setQuery({ zoom: text }, options);
  }

  /** factor: below 1 shows less. at: what stays where it is, from 0 (left) to 1 */
  zoomBy(factor: number, at = 0.5): void {
    const { from, to } = this.zoom.peek();
    const centre = from + (to - from) * at;
    this.zoomTo({ from: centre - (centre - from) * factor, to: centre + (to - centre) * factor }, { replace: true });
  }

  /** share: of what is shown, to the right */
  pan(share: number): void {
    const { from, to } = this.zoom.peek();
    const size = to - from;
    const begin = Math.min(this.whole.to - size, Math.max(this.whole.from, from + size * share));
    this.zoomTo({ from: begin, to: begin + size }, { replace: true });
  }

  /** The next row that matches, in the order of the tree; -1: none does. */
  nextFound(direction: 1 | -1): number {
    const found = this.found.peek();
    if (!found?.count) return -1;
    const { order, rows } = this.trace;
    const cursor = this.cursorRow();
    const from = cursor < 0 ? (direction > 0 ? -1 : rows) : this.placeOf(cursor);
    for (let steps = 1; steps <= rows; steps += 1) {
      const row = order[(from + direction * steps + rows * 2) % rows]!;
      if (found.matches[row]) return row;
    }
    return -1;
  }

  /** How many matches there are up to the cursor, itself counted. */
  foundBefore(): number {
    const found = this.found.value;
    const cursor = this.cursor.value;
    if (!found || cursor < 0 || !found.matches[cursor]) return 0;
    let count = 0;
    for (const row of this.trace.order) {
      count += found.matches[row]!;
      if (row === cursor) break;
    }
    return count;
  }

  private places: Int32Array | undefined;

  private placeOf(row: number): number {
    if (!this.places) {
      this.places = new Int32Array(this.trace.rows);
      this.trace.order.forEach((one, place) => (this.places![one] = place));
    }
    return this.places[row]!;
  }
}

/** Spans whose clock was never set do not stretch it. */
function wholeOf(trace: Trace): Zoom {
  let from = 0;
  let to = trace.durationNs;
  const far = -Math.max(trace.durationNs, 1e9);
  for (let row = 0; row < trace.rows; row += 1) {
    const start = trace.start[row]!;
    if (start < far) continue;
    if (start < from) from = start;
    if (start + trace.duration[row]! > to) to = start + trace.duration[row]!;
  }
  return { from, to: to > from ? to : from + 1000 };
}

function parseZoom(text: string, whole: Zoom): Zoom {
  const found = /^(-?[0-9.]+)~(-?[0-9.]+)$/.exec(text);
  if (!found) return whole;
  const zoom = { from: Number(found[1]) * NS_PER_MS, to: Number(found[2]) * NS_PER_MS };
  return zoom.to > zoom.from ? clamp(zoom, whole) : whole;
}

const inMs = (ns: number): string => String(Number((ns / NS_PER_MS).toFixed(6)));

function zoomText({ from, to }: Zoom, whole: Zoom): string {
  return from <= whole.from && to >= whole.to ? "" : `${inMs(from)}~${inMs(to)}`;
}

function clamp({ from, to }: Zoom, whole: Zoom): Zoom {
  const size = Math.min(whole.to - whole.from, Math.max(ZOOM_NS_MIN, to - from));
  const begin = Math.min(Math.max(from, whole.from), whole.to - size);
  return { from: begin, to: begin + size };
}
