// The waterfall's elements, mouse and keys.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { drag } from "../../../lib/drag.ts";
import { duration, percent } from "../../../lib/format.ts";
import { stored } from "../../../state/stored.ts";
import { isMissing, nameOf, serviceOf, type Trace } from "../model/trace.ts";
import type { TraceState } from "../state.ts";
import { WaterfallView } from "./view.ts";

const NAME_PX_MIN = 160;
const nameWidth = stored<number>("local", "trace.nameWidth", 380, (value): value is number => typeof value === "number");
const DRAG_PX_MIN = 4;

interface Tip {
  line: number;
  x: number;
  y: number;
}

/** The view, for keys that are pressed elsewhere on the page. */
export interface WaterfallHandle {
  focus: () => void;
  move: (lines: number) => void;
}

export function Waterfall({ state, handle }: { state: TraceState; handle: { current: WaterfallHandle | undefined } }) {
  const scroller = useRef<HTMLDivElement>(null);
  const space = useRef<HTMLDivElement>(null);
  const sticky = useRef<HTMLDivElement>(null);
  const left = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const axis = useRef<HTMLDivElement>(null);
  const brush = useRef<HTMLDivElement>(null);
  const view = useRef<WaterfallView | undefined>(undefined);
  const [tip, setTip] = useState<Tip>();

  useLayoutEffect(() => {
    const made = new WaterfallView(state, {
      scroller: scroller.current!,
      space: space.current!,
      sticky: sticky.current!,
      left: left.current!,
      canvas: canvas.current!,
      axis: axis.current!,
    });
    view.current = made;
    handle.current = { focus: () => scroller.current?.focus({ preventScroll: true }), move: (lines) => move(state, made, lines) };
    scroller.current!.focus({ preventScroll: true });
    return () => {
      made.stop();
      handle.current = undefined;
    };
  }, [state]);

  const lines = state.lines.value;
  const cursorLine = state.cursorLine.value;
  useEffect(() => view.current?.scrollTo(cursorLine), [cursorLine, state.cursor.value]);

  useEffect(() => {
    const element = scroller.current!;
    const onWheel = (event: WheelEvent) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const { share } = view.current!.timeAt(event.clientX);
        state.zoomBy(Math.exp(event.deltaY * 0.002), share);
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        state.pan((event.deltaX || event.deltaY) * 0.001);
      }
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [state]);

  const onPointerDown = (event: PointerEvent) => {
    if (event.button !== 0 || event.target !== canvas.current) return;
    const from = event.clientX;
    const element = canvas.current!;
    element.setPointerCapture(event.pointerId);
    const onMove = (moved: PointerEvent) => showBrush(brush.current!, element, from, moved.clientX);
    const onUp = (ended: PointerEvent) => {
      element.removeEventListener("pointermove", onMove);
      element.removeEventListener("pointerup", onUp);
      element.removeEventListener("pointercancel", onUp);
      brush.current!.hidden = true;
      if (ended.type === "pointercancel") return;
      if (Math.abs(ended.clientX - from) < DRAG_PX_MIN) return selectLine(state, view.current!.lineAt(ended.clientY));
      const [a, b] = [view.current!.timeAt(from).ns, view.current!.timeAt(ended.clientX).ns];
      state.zoomTo({ from: Math.min(a, b), to: Math.max(a, b) });
    };
    element.addEventListener("pointermove", onMove);
    element.addEventListener("pointerup", onUp);
    element.addEventListener("pointercancel", onUp);
  };

  const onClick = (event: MouseEvent) => {
    const target = event.target as Element;
    const row = target.closest<HTMLElement>("[data-line]");
    if (!row) return;
    const line = Number(row.dataset["line"]);
    if (target.closest(".wf-caret, .wf-count")) state.toggle(line);
    else selectLine(state, line);
  };

  const onDoubleClick = (event: MouseEvent) => {
    const line = view.current!.lineAt(event.clientY);
    if (line >= 0) zoomToRow(state, lines.row[line]!);
  };

  const onPointerMove = (event: PointerEvent) => {
    const line = view.current!.lineAt(event.clientY);
    view.current!.hover(line);
    setTip(event.target === canvas.current && event.buttons === 0 && line >= 0 ? { line, x: event.clientX, y: event.clientY } : undefined);
  };
  const onPointerLeave = () => {
    view.current?.hover(-1);
    setTip(undefined);
  };

  const width = Math.max(NAME_PX_MIN, nameWidth.value);
  return (
    <div class="wf">
      <div class="wf-head">
        <div class="wf-head-name" style={{ width: `${width}px` }}>
          Operation and service
        </div>
        <div class="wf-axis" ref={axis} aria-hidden="true" />
      </div>
      <div
        class="wf-scroll"
        ref={scroller}
        tabIndex={0}
        role="treegrid"
        aria-label="Spans of the trace"
        onScroll={() => {
          setTip(undefined);
          view.current?.schedule();
        }}
        onKeyDown={(event) => onKeys(event, state, view.current!)}
        onClick={onClick}
        onDblClick={onDoubleClick}
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerLeave={onPointerLeave}
      >
        <div class="wf-space" ref={space} role="presentation">
          <div class="wf-sticky" ref={sticky} role="presentation">
            <div class="wf-left-clip" style={{ width: `${width}px` }} role="presentation">
              <div class="wf-left" ref={left} role="rowgroup" style={{ width: `${width}px` }} />
            </div>
            <canvas ref={canvas} aria-hidden="true" />
            <div class="wf-brush" ref={brush} hidden />
          </div>
        </div>
      </div>
      <Splitter width={width} />
      {lines.count === 0 && <p class="wf-none faint">No span is left: change what is looked for, or show all.</p>}
      {tip && <Hint state={state} tip={tip} />}
    </div>
  );
}

function showBrush(brush: HTMLElement, canvas: HTMLElement, from: number, to: number): void {
  const box = canvas.getBoundingClientRect();
  const parent = canvas.parentElement!.getBoundingClientRect();
  const [a, b] = [Math.max(box.left, Math.min(from, to)), Math.min(box.right, Math.max(from, to))];
  brush.hidden = Math.abs(to - from) < DRAG_PX_MIN;
  brush.style.left = `${a - parent.left}px`;
  brush.style.width = `${Math.max(0, b - a)}px`;
}

function selectLine(state: TraceState, line: number): void {
  if (line < 0) return;
  const { row, group } = state.lines.peek();
  if (group[line]! >= 0) {
    state.moveToLine(line);
    return state.toggle(line);
  }
  // A click beside what is open moves; the first one opens, and back closes it.
  state.select(row[line]!, { replace: state.selected.peek() >= 0 });
}

export function zoomToRow(state: TraceState, row: number): void {
  const { trace } = state;
  const margin = Math.max(trace.duration[row]! * 0.05, 100);
  state.zoomTo({ from: trace.start[row]! - margin, to: trace.start[row]! + trace.duration[row]! + margin });
}

function move(state: TraceState, view: WaterfallView, by: number): void {
  const lines = state.lines.peek();
  if (!lines.count) return;
  const at = state.cursorLine.peek();
  const line = at < 0 ? (by < 0 ? lines.count - 1 : 0) : Math.max(0, Math.min(lines.count - 1, at + by));
  toLine(state, view, line);
}

function toLine(state: TraceState, view: WaterfallView, line: number): void {
  if (line < 0 || line >= state.lines.peek().count) return;
  state.moveToLine(line);
  view.scrollTo(line);
}

/** As a tree grid is used: up and down, left closes or goes to the parent, right opens or goes to the first child. */
function onKeys(event: KeyboardEvent, state: TraceState, view: WaterfallView): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const line = state.cursorLine.peek();
  const run = keyAction(event, state, view, line);
  if (!run) return;
  event.preventDefault();
  event.stopPropagation();
  run();
}

function keyAction(event: KeyboardEvent, state: TraceState, view: WaterfallView, line: number): (() => void) | undefined {
  const lines = state.lines.peek();
  switch (event.key) {
    case "ArrowDown":
      return () => move(state, view, 1);
    case "ArrowUp":
      return () => move(state, view, -1);
    case "PageDown":
      return () => move(state, view, view.page());
    case "PageUp":
      return () => move(state, view, -view.page());
    case "Home":
      return () => toLine(state, view, 0);
    case "End":
      return () => toLine(state, view, lines.count - 1);
    case "ArrowLeft":
      if (event.shiftKey) return () => state.pan(-0.2);
      return () => (isOpen(state, line) ? state.toggle(line, false) : toLine(state, view, parentLine(state, line)));
    case "ArrowRight":
      if (event.shiftKey) return () => state.pan(0.2);
      return () => (isOpen(state, line) ? toLine(state, view, line + 1) : state.toggle(line, true));
    case "Enter":
      return () => selectLine(state, line);
    case " ":
      return () => line >= 0 && state.toggle(line);
    case "Escape":
      if (state.selected.peek() < 0) return undefined;
      return () => state.select(-1);
    default:
      return undefined;
  }
}

function isOpen(state: TraceState, line: number): boolean {
  const lines = state.lines.peek();
  return line >= 0 && line + 1 < lines.count && lines.level[line + 1]! > lines.level[line]!;
}

function parentLine(state: TraceState, line: number): number {
  const { level } = state.lines.peek();
  for (let at = line - 1; at >= 0; at -= 1) if (level[at]! < level[line]!) return at;
  return -1;
}

function Splitter({ width }: { width: number }) {
  const resize = (to: number) => (nameWidth.value = Math.round(Math.max(NAME_PX_MIN, Math.min(window.innerWidth * 0.7, to))));
  const onPointerDown = (event: PointerEvent) => {
    const begin = event.clientX - width;
    drag(event, (moved) => resize(moved.clientX - begin));
  };
  return (
    <div
      class="wf-split"
      style={{ left: `${width}px` }}
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the names"
      aria-valuenow={width}
      aria-valuemin={NAME_PX_MIN}
      aria-valuemax={Math.round(window.innerWidth * 0.7)}
      tabIndex={0}
      onPointerDown={onPointerDown}
      onKeyDown={(event) => {
        if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
        event.preventDefault();
        resize(width + (event.key === "ArrowLeft" ? -16 : 16));
      }}
    />
  );
}

const TIP_PX = 280;

function Hint({ state, tip }: { state: TraceState; tip: Tip }) {
  const { trace } = state;
  const lines = state.lines.value;
  const row = lines.row[tip.line];
  if (row === undefined) return null;
  const x = Math.min(tip.x + 14, window.innerWidth - TIP_PX - 8);
  return (
    <div class="wf-tip" style={{ left: `${x}px`, top: `${Math.min(tip.y + 16, window.innerHeight - 90)}px` }} role="presentation">
      <strong>{nameOf(trace, row)}</strong>
      <span class="muted">{serviceOf(trace, row)}</span>
      <TimesOf trace={trace} row={row} members={lines.group[tip.line]! >= 0 ? state.folds.members[lines.group[tip.line]!] : undefined} />
    </div>
  );
}

function TimesOf({ trace, row, members }: { trace: Trace; row: number; members: Int32Array | undefined }) {
  if (members) {
    let total = 0;
    let longest = 0;
    for (const one of members) {
      total += trace.duration[one]!;
      longest = Math.max(longest, trace.duration[one]!);
    }
    return (
      <span class="number">
        {members.length} spans · {duration(total)} together · longest {duration(longest)}
      </span>
    );
  }
  if (isMissing(trace, row)) return <span>Other spans name it as their parent. The server does not have it.</span>;
  return (
    <span class="number">
      {duration(trace.duration[row]!)} ({percent(trace.duration[row]! / (trace.durationNs || 1))} of the trace) · self {duration(trace.self[row]!)} · at{" "}
      {duration(trace.start[row]!)}
    </span>
  );
}
