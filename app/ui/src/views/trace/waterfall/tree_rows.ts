// The left half of the waterfall: a row of the tree for each line in view, kept and filled anew as one scrolls.
import { duration } from "../../../lib/format.ts";
import type { Lines } from "../model/rows.ts";
import { Flag, isError, isMissing, nameOf, serviceOf, type Trace } from "../model/trace.ts";
import type { Palette } from "./palette.ts";
import { ROW_PX } from "./painter.ts";

const INDENT_PX = 14;
const LEVELS_MAX = 22;

export interface TreeScene {
  trace: Trace;
  lines: Lines;
  palette: Palette;
  collapsed: Uint8Array;
  unfolded: ReadonlySet<number>;
  members: readonly Int32Array[];
  selected: number;
  cursor: number;
  hovered: number;
  matches: Uint8Array | undefined;
  service: number;
}

interface Cells {
  row: HTMLDivElement;
  cell: HTMLDivElement;
  indent: HTMLSpanElement;
  caret: HTMLSpanElement;
  dot: HTMLSpanElement;
  count: HTMLSpanElement;
  name: HTMLSpanElement;
  service: HTMLSpanElement;
  mark: HTMLSpanElement;
  time: HTMLDivElement;
}

export const rowId = (line: number): string => `trace-line-${line}`;

export class TreeRows {
  private readonly pool: Cells[] = [];

  constructor(private readonly parent: HTMLElement) {}

  draw(scene: TreeScene, first: number, shift: number, height: number): void {
    const count = Math.min(scene.lines.count - first, Math.ceil((height + shift) / ROW_PX));
    while (this.pool.length < count) this.pool.push(this.make());
    this.parent.style.transform = `translateY(${-shift}px)`;
    this.pool.forEach((cells, n) => {
      cells.row.hidden = n >= count;
      if (n < count) fill(cells, scene, first + n);
    });
  }

  private make(): Cells {
    const element = <K extends "div" | "span">(tag: K, name: string, parent: HTMLElement): HTMLElementTagNameMap[K] => {
      const made = document.createElement(tag);
      made.className = name;
      parent.append(made);
      return made;
    };
    const row = element("div", "wf-row", this.parent);
    row.setAttribute("role", "row");
    const cell = element("div", "wf-name", row);
    cell.setAttribute("role", "gridcell");
    const time = element("div", "visually-hidden", row);
    time.setAttribute("role", "gridcell");
    return {
      row,
      cell,
      indent: element("span", "wf-indent", cell),
      caret: element("span", "wf-caret", cell),
      dot: element("span", "wf-dot", cell),
      count: element("span", "wf-count", cell),
      name: element("span", "wf-op", cell),
      mark: element("span", "wf-mark", cell),
      service: element("span", "wf-service", cell),
      time,
    };
  }
}

function fill(cells: Cells, scene: TreeScene, line: number): void {
  const { trace, lines } = scene;
  const row = lines.row[line]!;
  const group = lines.group[line]!;
  const members = group >= 0 ? scene.members[group]! : undefined;
  const parent = trace.parent[row]!;
  const level = lines.level[line]!;
  const hasChildren = members !== undefined || trace.childAt[row] !== trace.childAt[row + 1];
  const open = members ? scene.unfolded.has(group) : !scene.collapsed[row];
  const failed = members ? members.some((one) => isError(trace, one)) : isError(trace, row);
  const hidesError = !failed && !open && (trace.flags[row]! & Flag.errorBelow) !== 0;
  // A name is said again where the eye cannot carry it: at the top, and where the service changes.
  const sameService = level > 0 && parent >= 0 && trace.service[parent] === trace.service[row] && !isMissing(trace, parent);

  text(cells.name, nameOf(trace, row));
  text(cells.count, members ? `${members.length} ×` : "");
  text(cells.service, sameService ? "" : serviceOf(trace, row));
  text(cells.mark, marks(trace, row, failed, hidesError));
  text(cells.caret, hasChildren ? (open ? "▾" : "▸") : "");
  style(cells.indent, "width", `${Math.min(level, LEVELS_MAX) * INDENT_PX}px`);
  style(cells.dot, "background", isMissing(trace, row) ? "transparent" : scene.palette.services[trace.service[row]!]!);
  const dim = scene.service >= 0 && trace.service[row] !== scene.service;
  className(cells.row, [
    "wf-row",
    line === scene.selected && "selected",
    line === scene.cursor && "cursor",
    line === scene.hovered && "hovered",
    Boolean(scene.matches?.[row]) && group < 0 && "match",
    failed && "failed",
    hidesError && "hides-error",
    isMissing(trace, row) && "missing",
    members !== undefined && "group",
    dim && "dim",
  ]);
  attribute(cells.row, "id", rowId(line));
  attribute(cells.row, "data-line", String(line));
  attribute(cells.row, "aria-level", String(level + 1));
  attribute(cells.row, "aria-rowindex", String(line + 1));
  attribute(cells.row, "aria-selected", String(line === scene.selected));
  attribute(cells.row, "aria-expanded", hasChildren ? String(open) : null);
  text(cells.time, said(trace, row, members, failed));
}

function marks(trace: Trace, row: number, failed: boolean, hidesError: boolean): string {
  if (failed) return "!";
  if (hidesError) return "!";
  if (trace.flags[row]! & Flag.cycle) return "↻";
  return trace.flags[row]! & Flag.skewed ? "⏱" : "";
}

/** What the canvas shows of the line, in words. */
function said(trace: Trace, row: number, members: Int32Array | undefined, failed: boolean): string {
  if (members) {
    const total = members.reduce((sum, one) => sum + trace.duration[one]!, 0);
    return `${members.length} spans, ${duration(total)} together${failed ? ", with errors" : ""}`;
  }
  return `${duration(trace.duration[row]!)}, starts at ${duration(trace.start[row]!)}${failed ? ", error" : ""}`;
}

// The DOM is touched only where something is new: most frames of a scroll change texts and nothing else.

function text(element: HTMLElement, value: string): void {
  const node = element.firstChild as Text | null;
  if (node) {
    if (node.data !== value) node.data = value;
  } else element.append(document.createTextNode(value));
}

function style(element: HTMLElement, name: "width" | "background", value: string): void {
  const kept = element as HTMLElement & { kept?: string };
  if (kept.kept === value) return;
  kept.kept = value;
  element.style[name] = value;
}

function className(element: HTMLElement, names: readonly (string | false)[]): void {
  const value = names.filter(Boolean).join(" ");
  if (element.className !== value) element.className = value;
}

function attribute(element: HTMLElement, name: string, value: string | null): void {
  if (value === null) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}
