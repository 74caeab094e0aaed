// Draws the bars of the lines that are in view.
import { duration } from "../../../lib/format.ts";
import type { Segment } from "../model/critical_path.ts";
import type { Gap } from "../model/gaps.ts";
import type { Lines } from "../model/rows.ts";
import { isError, isMissing, type Trace } from "../model/trace.ts";
import type { Zoom } from "../state.ts";
import type { Palette } from "./palette.ts";
import type { Tick } from "./scale.ts";

export const ROW_PX = 24;
const BAR_PX = 12;
const BAR_TOP = (ROW_PX - BAR_PX) / 2;
const LEAST_PX = 2;

export interface Scene {
  trace: Trace;
  lines: Lines;
  zoom: Zoom;
  palette: Palette;
  ticks: readonly Tick[];
  /** Lines; -1: none. */
  hovered: number;
  selected: number;
  cursor: number;
  /** Spans of each group of repeated siblings that are shown one by one. */
  members: readonly Int32Array[];
  /** Number of the service that stands out; -1: none. */
  service: number;
  segments: ReadonlyMap<number, readonly Segment[]>;
  gaps: ReadonlyMap<number, readonly Gap[]>;
  events: EventIndex;
}

/** Times of events by row. */
export interface EventIndex {
  at: Int32Array;
  time: Float64Array;
}

export function eventIndex(trace: Trace): EventIndex {
  const at = new Int32Array(trace.rows + 1);
  for (const row of trace.eventSpan) at[row + 1]! += 1;
  for (let row = 0; row < trace.rows; row += 1) at[row + 1]! += at[row]!;
  return { at, time: trace.eventTime }; // the API gives them in the order of the rows
}

export class Painter {
  private readonly context: CanvasRenderingContext2D;
  private width = 0;
  private height = 0;
  private ratio = 1;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d", { alpha: false })!;
  }

  resize(width: number, height: number): void {
    const ratio = window.devicePixelRatio || 1;
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
  }

  /** first: the first line in view; shift: how much of it is above the view, in pixels */
  draw(scene: Scene, first: number, shift: number): void {
    const { context, width, height } = this;
    const { palette, lines } = scene;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.fillStyle = palette.surface;
    context.fillRect(0, 0, width, height);
    const last = Math.min(lines.count, first + Math.ceil((height + shift) / ROW_PX));
    for (let line = first; line < last; line += 1) this.ground(scene, line, (line - first) * ROW_PX - shift);
    context.fillStyle = palette.grid;
    for (const tick of scene.ticks) context.fillRect(Math.round(this.x(scene.zoom, tick.ns)), 0, 1, height);
    context.font = `11px ${FONT}`;
    context.textBaseline = "middle";
    for (let line = first; line < last; line += 1) {
      const top = (line - first) * ROW_PX - shift;
      if (lines.group[line]! >= 0) this.group(scene, line, top);
      else this.span(scene, lines.row[line]!, top);
    }
    context.globalAlpha = 1;
  }

  /** Where a time is, in pixels from the left. */
  private x({ from, to }: Zoom, ns: number): number {
    return ((ns - from) / (to - from)) * this.width;
  }

  private ground(scene: Scene, line: number, top: number): void {
    const { context } = this;
    const colour =
      line === scene.selected
        ? scene.palette.selected
        : line === scene.hovered || line === scene.cursor
          ? scene.palette.hover
          : "";
    if (!colour) return;
    context.fillStyle = colour;
    context.fillRect(0, top, this.width, ROW_PX);
  }

  private span(scene: Scene, row: number, top: number): void {
    const { context } = this;
    const { trace, palette, zoom } = scene;
    const from = this.x(zoom, trace.start[row]!);
    const to = this.x(zoom, trace.start[row]! + trace.duration[row]!);
    const dim = scene.service >= 0 && trace.service[row] !== scene.service;
    context.globalAlpha = dim ? 0.25 : 1;
    const left = Math.max(from, -4);
    const right = Math.max(Math.min(to, this.width + 4), left + LEAST_PX);
    const visible = to >= -1 && from <= this.width + 1;
    const colour = palette.services[trace.service[row]!]!;
    if (visible && isMissing(trace, row)) {
      this.dashed(left, right, top, palette.textSoft);
    } else if (visible) {
      context.fillStyle = colour;
      rounded(context, left, top + BAR_TOP, right - left, BAR_PX);
      this.gaps(scene, row, top);
      if (isError(trace, row)) this.error(left, right, top, palette.danger);
      this.events(scene, row, top);
      this.path(scene, row, top);
    } else {
      this.away(to < 0, top, palette.textSoft);
    }
    this.label(scene, duration(trace.duration[row]!), from, to, top, isError(trace, row) ? palette.danger : palette.textSoft);
  }

  /** Bars of all members on one line, each as wide as it is. */
  private group(scene: Scene, line: number, top: number): void {
    const { context, width } = this;
    const { trace, palette, zoom } = scene;
    const members = scene.members[scene.lines.group[line]!]!;
    const first = members[0]!;
    const dim = scene.service >= 0 && trace.service[first] !== scene.service;
    context.globalAlpha = dim ? 0.25 : 1;
    const marks = new Uint8Array(Math.ceil(width) + 1);
    const wrong: number[] = [];
    let total = 0;
    let end = -Infinity;
    for (const row of members) {
      const from = this.x(zoom, trace.start[row]!);
      const to = this.x(zoom, trace.start[row]! + trace.duration[row]!);
      total += trace.duration[row]!;
      end = Math.max(end, to);
      if (to < 0 || from > width) continue;
      const a = Math.max(0, Math.floor(from));
      const b = Math.min(width, Math.max(a + 1, Math.ceil(to) - 1));
      marks.fill(1, a, b);
      if (isError(trace, row)) wrong.push(a);
    }
    context.fillStyle = palette.services[trace.service[first]!]!;
    for (let x = 0; x < marks.length; x += 1) {
      if (!marks[x]) continue;
      const begin = x;
      while (x < marks.length && marks[x]) x += 1;
      context.fillRect(begin, top + BAR_TOP + 2, x - begin, BAR_PX - 4);
    }
    context.fillStyle = palette.danger;
    for (const x of wrong) context.fillRect(x, top + BAR_TOP, 3, BAR_PX);
    const from = this.x(zoom, trace.start[first]!);
    this.label(scene, `Σ ${duration(total)}`, from, end, top, wrong.length ? palette.danger : palette.textSoft, true);
  }

  private label(scene: Scene, text: string, from: number, to: number, top: number, colour: string, chip = false): void {
    const { context, width } = this;
    const size = context.measureText(text).width;
    const y = top + ROW_PX / 2 + 0.5;
    const right = Math.max(to, from + LEAST_PX) + 7;
    context.fillStyle = colour;
    if (right >= 0 && right + size < width - 2 && to >= -2) return void context.fillText(text, right, y);
    const left = Math.min(from, width) - size - 7;
    if (left > 2 && from <= width + 2) return void context.fillText(text, left, y);
    if (to < 0 || from > width) return;
    // The bar fills the view: on it, in the colour of the ground.
    if (chip) {
      const x = Math.min(to, width) - size - 12;
      context.fillStyle = scene.palette.surface;
      rounded(context, x - 5, top + 3, size + 10, ROW_PX - 6);
      context.fillStyle = colour;
      context.fillText(text, x, y);
      return;
    }
    context.fillStyle = scene.palette.surface;
    context.fillText(text, Math.max(4, Math.min(to, width) - size - 9), y);
  }

  /** A red frame, and a mark that is no colour only. */
  private error(left: number, right: number, top: number, colour: string): void {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.strokeRect(left + 0.5, top + BAR_TOP + 0.5, Math.max(1, right - left - 1), BAR_PX - 1);
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(left - 1, top + BAR_TOP - 3);
    context.lineTo(left + 8, top + BAR_TOP - 3);
    context.lineTo(left - 1, top + BAR_TOP + 6);
    context.fill();
  }

  private dashed(left: number, right: number, top: number, colour: string): void {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = 1;
    context.setLineDash([4, 3]);
    context.strokeRect(left + 0.5, top + BAR_TOP + 0.5, right - left - 1, BAR_PX - 1);
    context.setLineDash([]);
  }

  /** The span is to the left or to the right of what is shown. */
  private away(toTheLeft: boolean, top: number, colour: string): void {
    const { context, width } = this;
    const x = toTheLeft ? 5 : width - 5;
    const tip = toTheLeft ? 1 : width - 1;
    context.fillStyle = colour;
    context.beginPath();
    context.moveTo(tip, top + ROW_PX / 2);
    context.lineTo(x, top + ROW_PX / 2 - 4);
    context.lineTo(x, top + ROW_PX / 2 + 4);
    context.fill();
  }

  private events(scene: Scene, row: number, top: number): void {
    const { at, time } = scene.events;
    if (at[row] === at[row + 1]) return;
    const { context } = this;
    let before = -Infinity;
    for (let n = at[row]!; n < at[row + 1]!; n += 1) {
      const x = Math.round(this.x(scene.zoom, time[n]!));
      if (x < 0 || x > this.width || x === before) continue;
      before = x;
      context.fillStyle = scene.palette.surface;
      context.fillRect(x - 1.5, top + BAR_TOP - 2, 3, BAR_PX + 4);
      context.fillStyle = scene.palette.text;
      context.fillRect(x - 0.5, top + BAR_TOP - 2, 1, BAR_PX + 4);
    }
  }

  private path(scene: Scene, row: number, top: number): void {
    const segments = scene.segments.get(row);
    if (!segments) return;
    const { context } = this;
    context.fillStyle = scene.palette.path;
    for (const { from, to } of segments) {
      const a = Math.max(0, this.x(scene.zoom, from));
      const b = Math.min(this.width, this.x(scene.zoom, to));
      if (b >= a) context.fillRect(a, top + BAR_TOP + BAR_PX - 1, Math.max(1, b - a), 2.5);
    }
  }

  private gaps(scene: Scene, row: number, top: number): void {
    const found = scene.gaps.get(row);
    if (!found) return;
    const { context } = this;
    for (const { from, to } of found) {
      const a = Math.max(0, this.x(scene.zoom, from));
      const b = Math.min(this.width, this.x(scene.zoom, to));
      if (b - a < 2) continue;
      context.save();
      context.beginPath();
      context.rect(a, top + BAR_TOP, b - a, BAR_PX);
      context.clip();
      context.strokeStyle = scene.palette.surface;
      context.lineWidth = 1.5;
      context.beginPath();
      for (let x = a - BAR_PX; x < b; x += 6) {
        context.moveTo(x, top + BAR_TOP + BAR_PX);
        context.lineTo(x + BAR_PX, top + BAR_TOP);
      }
      context.stroke();
      context.restore();
    }
  }
}

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif';

function rounded(context: CanvasRenderingContext2D, x: number, y: number, width: number, height: number): void {
  if (width < 6) return context.fillRect(x, y, width, height);
  context.beginPath();
  context.roundRect(x, y, width, height, 3);
  context.fill();
}
