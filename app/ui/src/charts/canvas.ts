// What all drawings on a canvas share: sharp pixels, the page's colours, round numbers on axes.
import { useEffect, useRef, useState } from "preact/hooks";
import { cssColour, isDark } from "../state/theme.ts";

export interface Size {
  width: number;
  height: number;
}

/** A canvas that is drawn anew when its place or the theme changes. draw: in CSS pixels. */
export function useCanvas(draw: (context: CanvasRenderingContext2D, size: Size) => void) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState<Size>({ width: 0, height: 0 });
  useEffect(() => {
    const element = canvas.current!;
    const observer = new ResizeObserver(([entry]) => setSize({ width: entry!.contentRect.width, height: entry!.contentRect.height }));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const dark = isDark.value;
  useEffect(() => {
    const element = canvas.current;
    const context = element?.getContext("2d");
    if (!element || !context || size.width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    element.width = Math.round(size.width * ratio);
    element.height = Math.round(size.height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size.width, size.height);
    draw(context, size);
  }, [draw, size, dark]);
  return { canvas, size };
}

export const font = (size = 11): string => `${size}px ${cssColour("--font")}`;

/** Between two colours #rrggbb. */
export function mix(from: string, to: string, share: number): string {
  const part = (text: string, at: number) => Number.parseInt(text.slice(at, at + 2), 16);
  const mixed = [1, 3, 5].map((at) => Math.round(part(from, at) + (part(to, at) - part(from, at)) * share));
  return `rgb(${mixed.join(" ")})`;
}

const TIME_STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500].concat(
  [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800].map((s) => s * 1000),
);

/** Round times within a range, at most so many. shiftMs: of the zone, so that days begin at midnight. */
export function timeTicks(fromMs: number, toMs: number, most: number, shiftMs: number): number[] {
  const step = TIME_STEPS_MS.find((one) => (toMs - fromMs) / one <= most) ?? toMs - fromMs;
  const ticks: number[] = [];
  for (let at = Math.ceil((fromMs + shiftMs) / step) * step; at <= toMs + shiftMs; at += step) ticks.push(at - shiftMs);
  return ticks;
}
