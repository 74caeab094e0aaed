// Lines or bars over time, with exemplars that open traces. Dragging marks a time.
import uPlot from "uplot";
import { useEffect, useRef } from "preact/hooks";
import { clock, dateTime, minute } from "../lib/format.ts";
import { navigate, url } from "../router.ts";
import { cssColour, isDark } from "../state/theme.ts";
import { zone } from "../state/timezone.ts";
import { seriesColour } from "../lib/colours.ts";
import { font } from "./canvas.ts";
import type { Line, Mark, Unit } from "./series.ts";
import { unitText } from "./series.ts";

interface Props {
  timesMs: readonly number[];
  lines: readonly Line[];
  /** The colour of each line; without: in turn. */
  colours?: readonly string[] | undefined;
  unit: Unit;
  bars?: boolean;
  height?: number;
  label: string;
  fromMs: number;
  toMs: number;
  onRange?: (fromMs: number, toMs: number) => void;
}

const HIT = 9;
const TIP_LINES = 10;

export function LineChart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const tip = useRef<HTMLDivElement>(null);
  const latest = useRef(props);
  latest.current = props;
  const dark = isDark.value;
  const zoneNow = zone.value;
  useEffect(() => {
    const element = host.current!;
    const colours = props.lines.map((_, at) => props.colours?.[at] ?? seriesColour(at, dark));
    const plot = new uPlot(options(props, colours, element, tip.current!, latest), data(props), element);
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: props.height ?? 260 }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [props.timesMs, props.lines, props.bars, props.unit, props.fromMs, props.toMs, props.height, dark, zoneNow]);
  return (
    <>
      <div class="chart" role="img" aria-label={props.label}>
        <div ref={host} style={{ height: `${props.height ?? 260}px` }} />
        <div class="tip chart-tip" ref={tip} hidden />
      </div>
      <Exemplars lines={props.lines} unit={props.unit} />
    </>
  );
}

const EXEMPLARS_SHOWN = 5;

/** The highest of the diamonds as links: those in the chart need a mouse. */
function Exemplars({ lines, unit }: { lines: readonly Line[]; unit: Unit }) {
  const marks = lines.flatMap((line) => line.exemplars).filter((mark) => mark.traceId);
  const shown = [...new Map(marks.map((mark) => [mark.traceId, mark])).values()].sort((a, b) => b.value - a.value).slice(0, EXEMPLARS_SHOWN);
  if (shown.length === 0) return null;
  return (
    <p class="exemplars small muted">
      <span aria-hidden="true">◇</span> Traces:
      {shown.map((mark) => (
        <a key={mark.traceId} class="number" href={traceUrl(mark)} title={`${dateTime(mark.ms)}, trace ${mark.traceId}`}>
          {unit === "seconds" ? unitText(mark.value, unit) : clock(mark.ms)}
        </a>
      ))}
    </p>
  );
}

const traceUrl = (mark: Mark): string => url(`/trace/${mark.traceId}`, { at: Math.floor(mark.ms) });

const data = ({ timesMs, lines }: Props): uPlot.AlignedData => [timesMs.map((ms) => ms / 1000), ...lines.map((line) => line.values)];

function options(props: Props, colours: readonly string[], host: HTMLElement, tip: HTMLElement, latest: { current: Props }): uPlot.Options {
  const axis = { stroke: cssColour("--text-3"), font: font(), grid: { stroke: cssColour("--border"), width: 1 }, ticks: { show: false } };
  const wide = props.toMs - props.fromMs > 36 * 3600e3;
  const dots = props.timesMs.length <= 2;
  return {
    width: host.clientWidth || 300,
    height: props.height ?? 260,
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: true, y: false, setScale: false } },
    padding: [12, 12, 0, 0],
    scales: {
      x: { time: true, min: props.fromMs / 1000, max: props.toMs / 1000 },
      y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 80,
        size: 30,
        values: (_, ticks) => ticks.map((s) => (wide ? minute(s * 1000).slice(5) : clock(s * 1000).slice(0, 5))),
      },
      { ...axis, size: 62, values: (_, ticks) => ticks.map((value) => unitText(value, props.unit)) },
    ],
    series: [
      {},
      ...props.lines.map((line, at) => ({
        label: line.label,
        stroke: colours[at]!,
        width: 1.75,
        points: { show: dots },
        spanGaps: true,
        ...(props.bars ? { fill: colours[at]!, paths: uPlot.paths.bars!({ size: [0.8, 40], align: -1 }) } : {}),
      })),
    ],
    tzDate: (seconds) => (zone.value === "utc" ? uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : new Date(seconds * 1000)),
    hooks: {
      draw: [(plot) => drawExemplars(plot, props.lines, colours)],
      setCursor: [(plot) => showTip(plot, tip, latest.current, colours)],
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((x) => plot.posToVal(x, "x") * 1000);
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          latest.current.onRange?.(Math.round(from!), Math.round(to!));
        },
      ],
      ready: [
        (plot) => {
          plot.over.addEventListener("click", (event) => {
            const found = exemplarAt(plot, latest.current.lines, event.offsetX, event.offsetY);
            if (found) navigate(traceUrl(found));
          });
        },
      ],
    },
  };
}

function places(plot: uPlot, line: Line): { x: number; y: number; mark: Mark }[] {
  return line.exemplars.map((mark) => ({ x: plot.valToPos(mark.ms / 1000, "x"), y: plot.valToPos(mark.value, "y"), mark }));
}

function drawExemplars(plot: uPlot, lines: readonly Line[], colours: readonly string[]): void {
  const { ctx, bbox } = plot;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const [at, line] of lines.entries()) {
    ctx.fillStyle = cssColour("--surface");
    ctx.strokeStyle = colours[at]!;
    ctx.lineWidth = 1.5 * ratio;
    for (const { x, y } of places(plot, line)) {
      const [px, py, r] = [bbox.left + x * ratio, bbox.top + y * ratio, 3.5 * ratio];
      ctx.beginPath();
      ctx.moveTo(px, py - r);
      ctx.lineTo(px + r, py);
      ctx.lineTo(px, py + r);
      ctx.lineTo(px - r, py);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
  }
  ctx.restore();
}

function exemplarAt(plot: uPlot, lines: readonly Line[], x: number, y: number): Mark | undefined {
  let best: Mark | undefined;
  let least = HIT;
  for (const line of lines) {
    for (const place of places(plot, line)) {
      const away = Math.hypot(place.x - x, place.y - y);
      if (away < least) [best, least] = [place.mark, away];
    }
  }
  return best;
}

/** Text nodes only: what it shows comes from spans. */
function showTip(plot: uPlot, tip: HTMLElement, props: Props, colours: readonly string[]): void {
  const { idx, left, top } = plot.cursor;
  if (idx === null || idx === undefined || left === undefined || top === undefined || left < 0) {
    tip.hidden = true;
    return;
  }
  const exemplar = exemplarAt(plot, props.lines, left, top);
  plot.over.style.cursor = exemplar ? "pointer" : "crosshair";
  const rows = props.lines
    .map((line, at) => ({ label: line.label, value: line.values[idx], colour: colours[at]! }))
    .filter((row) => row.value !== null && row.value !== undefined)
    .sort((a, b) => b.value! - a.value!);
  tip.replaceChildren(text("span", dateTime(props.timesMs[idx]!).slice(0, 19), "faint"));
  for (const row of rows.slice(0, TIP_LINES)) {
    const line = text("span", "", "tip-line");
    const dot = text("span", "", "dot");
    dot.style.background = row.colour;
    line.append(dot, text("span", row.label), text("strong", unitText(row.value, props.unit)));
    tip.append(line);
  }
  if (rows.length > TIP_LINES) tip.append(text("span", `and ${rows.length - TIP_LINES} more`, "faint"));
  if (exemplar) tip.append(text("span", `Click: trace ${exemplar.traceId.slice(0, 8)}…, ${unitText(exemplar.value, props.unit)}`, "exemplar"));
  tip.hidden = false;
  const right = left > plot.over.clientWidth / 2;
  tip.style.left = `${left + plot.over.offsetLeft}px`;
  tip.style.top = `${Math.max(0, top - 10)}px`;
  tip.style.transform = right ? "translateX(calc(-100% - 14px))" : "translateX(14px)";
}

function text(tag: string, content: string, className = ""): HTMLElement {
  const element = document.createElement(tag);
  element.textContent = content;
  element.className = className;
  return element;
}
