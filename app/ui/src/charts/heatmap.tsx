// Durations over time, and beside it how they are spread. A rectangle is marked with the mouse or the keyboard.
import { useCallback, useMemo, useState } from "preact/hooks";
import { clock, duration, minute, whole } from "../lib/format.ts";
import { cssColour } from "../state/theme.ts";
import { zone } from "../state/timezone.ts";
import { type Size, font, mix, timeTicks, useCanvas } from "./canvas.ts";
import { type Grid, type Selection, rowTotals } from "./grid.ts";

const LEFT = 58;
const BOTTOM = 22;
const TOP = 6;
const GAP = 14;
const SIDE = 120;

interface Frame {
  width: number;
  height: number;
  sideFrom: number;
  sideWidth: number;
}

const frameOf = ({ width, height }: Size): Frame => {
  const sideWidth = width > 560 ? SIDE : 0;
  const inner = width - LEFT - (sideWidth ? sideWidth + GAP : 0) - 4;
  return { width: Math.max(10, inner), height: Math.max(10, height - BOTTOM - TOP), sideFrom: LEFT + inner + GAP, sideWidth };
};

interface Cell {
  column: number;
  row: number;
  /** Of the histogram beside it: all times. */
  side: boolean;
}

export function Heatmap(props: { grid: Grid; selection: Selection; onSelect: (selection: Selection | null) => void; label: string }) {
  const { grid, selection } = props;
  const [drag, setDrag] = useState<{ from: Cell; to: Cell }>();
  const [hover, setHover] = useState<{ cell: Cell; x: number; y: number }>();
  const [cursor, setCursor] = useState<{ from: Cell; to: Cell }>();
  const marked = drag ? selectionOf(grid, drag.from, drag.to) : cursor ? selectionOf(grid, cursor.from, cursor.to) : selection;
  const markedKey = JSON.stringify(marked);
  const totals = useMemo(() => rowTotals(grid), [grid]);
  const zoneNow = zone.value;
  const draw = useCallback(
    (context: CanvasRenderingContext2D, size: Size) => {
      const frame = frameOf(size);
      drawCells(context, frame, grid);
      drawSide(context, frame, totals);
      drawAxes(context, frame, grid);
      drawMark(context, frame, grid, JSON.parse(markedKey) as Selection);
    },
    [grid, totals, markedKey, zoneNow],
  );
  const { canvas } = useCanvas(draw);

  const cellAt = (event: PointerEvent, clamp: boolean): Cell | undefined => {
    const box = canvas.current!.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - LEFT, event.clientY - box.top - TOP];
    const { width, height, sideFrom, sideWidth } = frameOf(box);
    const side = sideWidth > 0 && x + LEFT >= sideFrom;
    if (!clamp && (y < 0 || y > height || (!side && (x < 0 || x > width)))) return undefined;
    const columns = grid.edgesMs.length - 1;
    const rows = grid.counts.length;
    return {
      column: Math.min(columns - 1, Math.max(0, Math.floor((x / width) * columns))),
      row: Math.min(rows - 1, Math.max(0, rows - 1 - Math.floor((y / height) * rows))),
      side,
    };
  };
  const onPointerDown = (event: PointerEvent) => {
    const cell = cellAt(event, false);
    if (!cell || event.button !== 0) return;
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    setCursor(undefined);
    setDrag({ from: cell, to: cell });
  };
  const onPointerMove = (event: PointerEvent) => {
    const cell = cellAt(event, drag !== undefined);
    if (drag && cell) setDrag({ from: drag.from, to: { ...cell, side: drag.from.side } });
    const box = canvas.current!.getBoundingClientRect();
    setHover(cell && !drag ? { cell, x: event.clientX - box.left, y: event.clientY - box.top } : undefined);
  };
  const onPointerUp = () => {
    if (!drag) return;
    props.onSelect(selectionOf(grid, drag.from, drag.to));
    setDrag(undefined);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const moved = move(grid, cursor?.to, event.key);
    if (moved) {
      event.preventDefault();
      setCursor({ from: event.shiftKey && cursor ? cursor.from : moved, to: moved });
    } else if (event.key === "Enter" && cursor) {
      event.preventDefault();
      props.onSelect(selectionOf(grid, cursor.from, cursor.to));
      setCursor(undefined);
    } else if (event.key === "Escape") {
      setCursor(undefined);
      props.onSelect(null);
    }
  };
  return (
    <div
      class="heatmap"
      role="group"
      tabIndex={0}
      aria-label={`${props.label}. Arrow keys move a mark, with Shift they widen it, Enter selects, Escape clears.`}
      onKeyDown={onKeyDown}
      onBlur={() => setCursor(undefined)}
    >
      <canvas
        ref={canvas}
        aria-hidden="true"
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerUp={onPointerUp}
        onPointerCancel={() => setDrag(undefined)}
        onPointerLeave={() => setHover(undefined)}
      />
      {hover && <Tip grid={grid} hover={hover} totals={totals} />}
      {cursor && (
        <p class="visually-hidden" aria-live="polite">
          {cellText(grid, cursor.to, totals)}
        </p>
      )}
    </div>
  );
}

function move(grid: Grid, at: Cell | undefined, key: string): Cell | undefined {
  const steps: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const step = steps[key];
  if (!step) return undefined;
  const [columns, rows] = [grid.edgesMs.length - 1, grid.counts.length];
  if (!at) return { column: Math.floor(columns / 2), row: Math.floor(rows / 2), side: false };
  const within = (value: number, most: number) => Math.min(most - 1, Math.max(0, value));
  return { column: within(at.column + step[0], columns), row: within(at.row + step[1], rows), side: false };
}

function selectionOf(grid: Grid, a: Cell, b: Cell): Selection {
  const [left, right] = [Math.min(a.column, b.column), Math.max(a.column, b.column)];
  const [low, high] = [Math.min(a.row, b.row), Math.max(a.row, b.row)];
  const out: Selection = a.side ? {} : { fromMs: grid.edgesMs[left]!, toMs: grid.edgesMs[right + 1]! };
  // The lowest and the highest row have nothing beyond them: they stay open.
  if (low > 0) out.minS = grid.boundsS[low]!;
  if (high < grid.counts.length - 1) out.maxS = grid.boundsS[high + 1]!;
  return out;
}

function drawCells(context: CanvasRenderingContext2D, frame: Frame, grid: Grid): void {
  const [from, to] = [cssColour("--heat-0"), cssColour("--heat-1")];
  const columns = grid.edgesMs.length - 1;
  const rows = grid.counts.length;
  const [w, h] = [frame.width / columns, frame.height / rows];
  const gap = w > 5 ? 1 : 0;
  context.fillStyle = cssColour("--surface-2");
  context.globalAlpha = 0.55;
  context.fillRect(LEFT, TOP, frame.width, frame.height);
  context.globalAlpha = 1;
  for (const [row, counts] of grid.counts.entries()) {
    for (const [column, count] of counts.entries()) {
      if (count === 0) continue;
      context.fillStyle = mix(from, to, Math.sqrt(count / grid.max));
      const y = TOP + frame.height - (row + 1) * h;
      context.fillRect(LEFT + column * w, y, Math.max(1, w - gap), Math.max(1, h - 1));
    }
  }
}

function drawSide(context: CanvasRenderingContext2D, frame: Frame, totals: readonly number[]): void {
  if (!frame.sideWidth) return;
  const most = Math.max(1, ...totals);
  const h = frame.height / totals.length;
  context.fillStyle = cssColour("--accent");
  context.globalAlpha = 0.75;
  for (const [row, total] of totals.entries()) {
    if (total === 0) continue;
    const width = Math.max(2, (total / most) * frame.sideWidth);
    context.fillRect(frame.sideFrom, TOP + frame.height - (row + 1) * h, width, Math.max(1, h - 1));
  }
  context.globalAlpha = 1;
}

const zoneShift = (ms: number): number => (zone.value === "utc" ? 0 : -new Date(ms).getTimezoneOffset() * 60e3);

function drawAxes(context: CanvasRenderingContext2D, frame: Frame, grid: Grid): void {
  context.font = font();
  context.fillStyle = cssColour("--text-3");
  context.textAlign = "right";
  context.textBaseline = "middle";
  const rows = grid.counts.length;
  const every = Math.max(1, Math.ceil(rows / Math.max(1, Math.floor(frame.height / 22))));
  for (let bound = 0; bound <= rows; bound += every) {
    const y = TOP + frame.height - (bound * frame.height) / rows;
    context.fillText(duration(grid.boundsS[bound]! * 1e9), LEFT - 8, Math.min(Math.max(y, TOP + 5), TOP + frame.height - 3));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  const [first, last] = [grid.edgesMs[0]!, grid.edgesMs.at(-1)!];
  const days = last - first > 36 * 3600e3;
  for (const tick of timeTicks(first, last, Math.max(2, Math.floor(frame.width / 90)), zoneShift(last))) {
    const x = LEFT + ((tick - first) / (last - first)) * frame.width;
    if (x < LEFT + 18 || x > LEFT + frame.width - 18) continue;
    context.fillText(days ? minute(tick).slice(5) : last - first < 120e3 ? clock(tick) : clock(tick).slice(0, 5), x, TOP + frame.height + 7);
  }
  if (frame.sideWidth) {
    context.textAlign = "left";
    context.fillText("all of the range", frame.sideFrom, TOP + frame.height + 7);
  }
}

function drawMark(context: CanvasRenderingContext2D, frame: Frame, grid: Grid, mark: Selection): void {
  if (Object.keys(mark).length === 0) return;
  const [first, last] = [grid.edgesMs[0]!, grid.edgesMs.at(-1)!];
  const x = (ms: number) => LEFT + (Math.min(1, Math.max(0, (ms - first) / (last - first))) * frame.width);
  const low = Math.log2(grid.boundsS[0]!);
  const high = Math.log2(grid.boundsS.at(-1)!);
  const y = (seconds: number) => TOP + frame.height - Math.min(1, Math.max(0, (Math.log2(seconds) - low) / (high - low))) * frame.height;
  const [left, right] = [mark.fromMs === undefined ? LEFT : x(mark.fromMs), mark.toMs === undefined ? LEFT + frame.width : x(mark.toMs)];
  const [top, bottom] = [mark.maxS === undefined ? TOP : y(mark.maxS), mark.minS === undefined ? TOP + frame.height : y(mark.minS)];
  context.fillStyle = cssColour("--selection");
  context.globalAlpha = 0.16;
  context.fillRect(left, top, right - left, bottom - top);
  if (frame.sideWidth) context.fillRect(frame.sideFrom, top, frame.sideWidth, bottom - top);
  context.globalAlpha = 1;
  context.strokeStyle = cssColour("--selection");
  context.lineWidth = 1.5;
  context.strokeRect(left + 0.5, top + 0.5, right - left - 1, bottom - top - 1);
}

function cellText(grid: Grid, cell: Cell, totals: readonly number[]): string {
  const count = cell.side ? totals[cell.row]! : grid.counts[cell.row]![cell.column]!;
  const time = cell.side ? "" : `, ${clock(grid.edgesMs[cell.column]!)} – ${clock(grid.edgesMs[cell.column + 1]!)}`;
  return `${whole(count)} spans, ${duration(grid.boundsS[cell.row]! * 1e9)} – ${duration(grid.boundsS[cell.row + 1]! * 1e9)}${time}`;
}

function Tip({ grid, hover, totals }: { grid: Grid; hover: { cell: Cell; x: number; y: number }; totals: readonly number[] }) {
  const [count, durations, time] = cellText(grid, hover.cell, totals).split(", ");
  return (
    <div class="tip" style={{ left: `${hover.x}px`, top: `${hover.y}px` }}>
      <strong>{count}</strong>
      <span>{durations}</span>
      {time && <span class="faint">{time}</span>}
    </div>
  );
}
