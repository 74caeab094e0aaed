// The whole trace in a strip, with a brush for what the waterfall shows.
import { useEffect, useRef } from "preact/hooks";
import { duration } from "../../../lib/format.ts";
import { isDark } from "../../../state/theme.ts";
import { isError, type Trace } from "../model/trace.ts";
import type { TraceState, Zoom } from "../state.ts";
import { paletteOf } from "./palette.ts";

const HEIGHT_PX = 58;
const HANDLE_PX = 8;

export function Minimap({ state }: { state: TraceState }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const dark = isDark.value;
  useEffect(() => {
    // The observer may still tell of elements that are being taken away.
    const [frame, target] = [box.current!, canvas.current!];
    const observer = new ResizeObserver(() => draw(target, state, frame.clientWidth, dark));
    observer.observe(frame);
    return () => observer.disconnect();
  }, [state, dark]);

  const { whole } = state;
  const size = whole.to - whole.from;
  const zoom = state.zoom.value;
  const left = ((zoom.from - whole.from) / size) * 100;
  const right = ((zoom.to - whole.from) / size) * 100;

  const timeAt = (clientX: number): number => {
    const rect = box.current!.getBoundingClientRect();
    return whole.from + Math.min(1, Math.max(0, (clientX - rect.left) / rect.width)) * size;
  };
  const onPointerDown = (event: PointerEvent) => {
    if (event.button !== 0) return;
    event.preventDefault();
    const change = changeOf(event, state.zoom.peek(), timeAt, state.isZoomed.peek());
    const element = box.current!;
    element.setPointerCapture(event.pointerId);
    let last: Zoom | undefined;
    const onMove = (moved: PointerEvent) => {
      last = change(timeAt(moved.clientX), moved.clientX);
      if (last) state.dragged.value = within(last, whole);
    };
    const onUp = () => {
      element.removeEventListener("pointermove", onMove);
      element.removeEventListener("pointerup", onUp);
      state.zoomTo(last ? within(last, whole) : state.isZoomed.peek() ? state.zoom.peek() : undefined);
    };
    element.addEventListener("pointermove", onMove);
    element.addEventListener("pointerup", onUp);
  };
  const nudge = (end: "from" | "to") => (event: KeyboardEvent) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    event.stopPropagation();
    const step = (event.key === "ArrowLeft" ? -0.02 : 0.02) * size;
    state.zoomTo({ ...zoom, [end]: zoom[end] + step }, { replace: true });
  };
  const handle = (end: "from" | "to", at: number) => (
    <div
      class={`mm-handle ${end}`}
      style={{ left: `${at}%` }}
      role="slider"
      tabIndex={0}
      aria-label={end === "from" ? "Start of what is shown" : "End of what is shown"}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(at)}
      aria-valuetext={duration(zoom[end])}
      onKeyDown={nudge(end)}
    />
  );
  return (
    <div class="mm" ref={box} onPointerDown={onPointerDown} onDblClick={() => state.zoomTo(undefined)} title="Drag to zoom; double click shows all">
      <canvas ref={canvas} aria-hidden="true" />
      <div class="mm-shade" style={{ left: 0, width: `${left}%` }} />
      <div class="mm-shade" style={{ left: `${right}%`, right: 0 }} />
      {state.isZoomed.value && <div class="mm-window" style={{ left: `${left}%`, width: `${right - left}%` }} />}
      {handle("from", left)}
      {handle("to", right)}
    </div>
  );
}

type Change = (ns: number, clientX: number) => Zoom | undefined;

/** What the mouse took hold of: a handle, the window between them, or the ground, where it draws a new window. */
function changeOf(event: PointerEvent, zoom: Zoom, timeAt: (x: number) => number, isZoomed: boolean): Change {
  const target = event.target as Element;
  const begin = timeAt(event.clientX);
  if (target.classList.contains("mm-handle")) {
    return target.classList.contains("from") ? (ns) => ordered(ns, zoom.to) : (ns) => ordered(zoom.from, ns);
  }
  if (isZoomed && target.classList.contains("mm-window")) {
    return (ns) => ({ from: zoom.from + ns - begin, to: zoom.to + ns - begin });
  }
  return (ns, clientX) => (Math.abs(clientX - event.clientX) < HANDLE_PX / 2 ? undefined : ordered(begin, ns));
}

const ordered = (a: number, b: number): Zoom => ({ from: Math.min(a, b), to: Math.max(a, b) });

function within({ from, to }: Zoom, whole: Zoom): Zoom {
  const size = Math.min(to - from, whole.to - whole.from);
  const begin = Math.min(Math.max(from, whole.from), whole.to - size);
  return { from: begin, to: begin + size };
}

function draw(canvas: HTMLCanvasElement, state: TraceState, width: number, dark: boolean): void {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.round(HEIGHT_PX * ratio)];
  canvas.width = w;
  canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${HEIGHT_PX}px`;
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(w, h);
  paint(new Uint32Array(image.data.buffer), w, h, state.trace, state.whole, numbers(state.trace, dark));
  context.putImageData(image, 0, 0);
}

/** Colours as the bytes of an image; the last one is that of errors. */
function numbers(trace: Trace, dark: boolean): number[] {
  const palette = paletteOf(trace, dark);
  return [...palette.services, palette.danger].map((text) => {
    const value = parseInt(text.replace("#", ""), 16);
    return ((255 << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
  });
}

/** A line for each span, thinner than a pixel where there are many: then later ones cover earlier ones, errors all. */
function paint(pixels: Uint32Array, width: number, height: number, trace: Trace, whole: Zoom, colours: number[]): void {
  const scale = width / (whole.to - whole.from);
  const rows = trace.order.length;
  const thick = Math.max(1, Math.min(Math.floor(height / rows) - 1, 6));
  const line = (place: number, row: number, colour: number): void => {
    const y = Math.min(height - thick, Math.floor((place * height) / rows));
    const from = Math.max(0, Math.floor((trace.start[row]! - whole.from) * scale));
    const to = Math.min(width, Math.max(from + 1, Math.ceil((trace.start[row]! + trace.duration[row]! - whole.from) * scale)));
    for (let n = 0; n < thick; n += 1) pixels.fill(colour, (y + n) * width + from, (y + n) * width + to);
  };
  const red = colours[colours.length - 1]!;
  for (let place = 0; place < rows; place += 1) {
    const row = trace.order[place]!;
    if (row < trace.spans) line(place, row, colours[trace.service[row]!]!);
  }
  if (!trace.errors) return;
  for (let place = 0; place < rows; place += 1) if (isError(trace, trace.order[place]!)) line(place, trace.order[place]!, red);
}
