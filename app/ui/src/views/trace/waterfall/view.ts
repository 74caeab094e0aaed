// The waterfall: a tree of rows beside a canvas, both drawn for the lines in view only.
import { effect } from "@preact/signals";
import { isDark } from "../../../state/theme.ts";
import type { Segment } from "../model/critical_path.ts";
import type { Gap } from "../model/gaps.ts";
import type { TraceState } from "../state.ts";
import { eventIndex, Painter, ROW_PX } from "./painter.ts";
import { type Palette, paletteOf } from "./palette.ts";
import { type Tick, ticks } from "./scale.ts";
import { rowId, TreeRows } from "./tree_rows.ts";

/** Browsers do not lay out what is higher; more lines than fit are scrolled faster. */
const HEIGHT_MAX_PX = 8_000_000;

export interface Parts {
  scroller: HTMLElement;
  space: HTMLElement;
  sticky: HTMLElement;
  left: HTMLElement;
  canvas: HTMLCanvasElement;
  axis: HTMLElement;
}

export class WaterfallView {
  hovered = -1;
  private readonly painter: Painter;
  private readonly tree: TreeRows;
  private readonly events;
  private readonly segments: ReadonlyMap<number, readonly Segment[]>;
  private readonly gaps: ReadonlyMap<number, readonly Gap[]>;
  private readonly stops: (() => void)[] = [];
  private palette: Palette;
  private frame = 0;
  private width = 0;
  private height = 0;
  private shownTicks: readonly Tick[] = [];
  private axisKey = "";

  constructor(
    private readonly state: TraceState,
    private readonly parts: Parts,
  ) {
    this.painter = new Painter(parts.canvas);
    this.tree = new TreeRows(parts.left);
    this.events = eventIndex(state.trace);
    this.segments = byRow(state.path.segments);
    this.gaps = byRow(state.gaps);
    this.palette = paletteOf(state.trace, isDark.peek());
    const observer = new ResizeObserver(() => this.measure());
    observer.observe(parts.sticky);
    observer.observe(parts.scroller);
    this.stops.push(() => observer.disconnect());
    this.stops.push(
      effect(() => {
        const dark = isDark.value;
        // The attribute of the theme is set by an effect, too: maybe after this one.
        queueMicrotask(() => {
          this.palette = paletteOf(state.trace, dark);
          this.schedule();
        });
      }),
    );
    this.stops.push(effect(() => this.onLines()));
    this.stops.push(effect(() => this.onState()));
    this.measure();
    this.draw();
  }

  stop(): void {
    for (const stop of this.stops) stop();
    cancelAnimationFrame(this.frame);
  }

  /** Draws in the next frame, once. */
  schedule = (): void => {
    if (!this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.draw();
      });
    }
  };

  /** The line at a height of the window; -1: none. */
  lineAt(clientY: number): number {
    const y = clientY - this.parts.sticky.getBoundingClientRect().top + this.offset();
    const line = Math.floor(y / ROW_PX);
    return line >= 0 && line < this.state.lines.peek().count ? line : -1;
  }

  /** The time at a place of the window, and the share of the view from the left. */
  timeAt(clientX: number): { ns: number; share: number } {
    const box = this.parts.canvas.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (clientX - box.left) / Math.max(1, box.width)));
    const { from, to } = this.state.zoom.peek();
    return { ns: from + (to - from) * share, share };
  }

  hover(line: number): void {
    if (line === this.hovered) return;
    this.hovered = line;
    this.schedule();
  }

  /** Scrolls as little as shows the line; a line far away comes to the middle. */
  scrollTo(line: number): void {
    if (line < 0) return;
    const top = line * ROW_PX;
    const offset = this.offset();
    if (top >= offset && top + ROW_PX <= offset + this.height) return;
    const near = top > offset - 3 * ROW_PX && top < offset + this.height + 3 * ROW_PX;
    const wanted = near ? (top < offset ? top : top + ROW_PX - this.height) : top - this.height / 2;
    this.parts.scroller.scrollTop = Math.max(0, wanted) / this.speed();
    this.schedule();
  }

  /** Lines that fit into the view. */
  page(): number {
    return Math.max(1, Math.floor(this.height / ROW_PX) - 1);
  }

  private offset(): number {
    return this.parts.scroller.scrollTop * this.speed();
  }

  /** Pixels of lines for each that is scrolled. */
  private speed(): number {
    const whole = this.state.lines.peek().count * ROW_PX;
    if (whole <= HEIGHT_MAX_PX) return 1;
    return (whole - this.height) / (HEIGHT_MAX_PX - this.height);
  }

  private measure(): void {
    const height = this.parts.scroller.clientHeight;
    this.height = height;
    this.parts.sticky.style.height = `${height}px`;
    this.width = Math.max(10, this.parts.sticky.clientWidth - this.parts.left.offsetWidth);
    this.painter.resize(this.width, height);
    // Not in the next frame: what is resized is empty until it is drawn.
    this.draw();
  }

  private onLines(): void {
    const { count } = this.state.lines.value;
    this.parts.space.style.height = `${Math.max(1, Math.min(HEIGHT_MAX_PX, count * ROW_PX))}px`;
    this.parts.scroller.setAttribute("aria-rowcount", String(count));
    this.schedule();
  }

  private onState(): void {
    const { state } = this;
    for (const signal of [state.zoom, state.cursorLine, state.selected, state.found, state.showPath, state.showGaps, state.service]) {
      void signal.value;
    }
    this.schedule();
  }

  private draw(): void {
    const { state, parts, palette } = this;
    const { trace } = state;
    if (!this.height || this.width <= 10) return;
    const lines = state.lines.peek();
    const zoom = state.zoom.peek();
    const offset = Math.max(0, Math.min(this.offset(), lines.count * ROW_PX - this.height));
    const first = Math.floor(offset / ROW_PX);
    const shift = offset - first * ROW_PX;
    const selected = state.selected.peek();
    this.shownTicks = ticks(zoom, this.width);
    const both = {
      trace,
      lines,
      palette,
      members: state.folds.members,
      hovered: this.hovered,
      cursor: state.cursorLine.peek(),
      selected: selected < 0 ? -1 : lines.lineOf(selected),
      matches: state.onlyFound.peek() ? undefined : state.found.peek()?.matches,
      service: state.service.peek() ? trace.services.indexOf(state.service.peek()) : -1,
    };
    const { collapsed, unfolded } = state.shown.peek();
    this.tree.draw({ ...both, collapsed, unfolded }, first, shift, this.height);
    const segments = state.showPath.peek() ? this.segments : NOTHING;
    const gaps = state.showGaps.peek() ? this.gaps : NOTHING;
    this.painter.draw({ ...both, zoom, ticks: this.shownTicks, segments, gaps, events: this.events }, first, shift);
    this.drawAxis();
    const focused = both.cursor >= first && both.cursor < first + this.height / ROW_PX + 1 ? rowId(both.cursor) : "";
    if (focused) parts.scroller.setAttribute("aria-activedescendant", focused);
    else parts.scroller.removeAttribute("aria-activedescendant");
  }

  private drawAxis(): void {
    const { from, to } = this.state.zoom.peek();
    const key = `${from} ${to} ${this.width}`;
    if (key === this.axisKey) return;
    this.axisKey = key;
    this.parts.axis.replaceChildren(
      ...this.shownTicks.map((tick) => {
        const label = document.createElement("span");
        label.textContent = tick.label;
        label.style.left = `${((tick.ns - from) / (to - from)) * this.width}px`;
        return label;
      }),
    );
  }
}

const NOTHING: ReadonlyMap<number, never[]> = new Map<number, never[]>();

function byRow<T extends { row: number }>(items: readonly T[]): Map<number, T[]> {
  const found = new Map<number, T[]>();
  for (const one of items) {
    const own = found.get(one.row);
    if (own) own.push(one);
    else found.set(one.row, [one]);
  }
  return found;
}
