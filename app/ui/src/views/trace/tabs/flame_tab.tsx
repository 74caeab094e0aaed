// The flame graph: as wide as the time that is spent in an operation and below it. A click makes a box as wide as all.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Icon } from "../../../components/icon.tsx";
import { duration, percent, whole } from "../../../lib/format.ts";
import { isDark } from "../../../state/theme.ts";
import { type Flame, flameGraph, type Placed, placeFlames } from "../model/flame.ts";
import type { Trace } from "../model/trace.ts";
import type { TraceState } from "../state.ts";
import { paletteOf } from "../waterfall/palette.ts";

const ROW_PX = 24;
const LEAST_PX = 2;

export function FlameTab({ state }: { state: TraceState }) {
  const { trace } = state;
  const root = useMemo(() => flameGraph(trace), [trace]);
  const [focus, setFocus] = useState<Flame>(root);
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const element = frame.current!;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const placed = useMemo(() => (width ? placeFlames(focus, LEAST_PX / width) : []), [focus, width]);
  const height = (Math.max(0, ...placed.map((one) => one.level)) + 1) * ROW_PX;
  const services = paletteOf(trace, isDark.value).services;
  const wanted = state.service.value;
  const found = state.found.value?.matches;
  const value = root.value || 1;
  return (
    <div class="tab-scroll" role="region" aria-label="Flame graph" tabIndex={0}>
      <div class="tab-tools">
        <span class="faint">
          Equal operations below one another are one box, as wide as the self time in it and below: {duration(root.value)} in all, of all spans together.
        </span>
        <span class="spacer" />
        {focus !== root && (
          <button type="button" class="button small" onClick={() => setFocus(root)}>
            <Icon name="reload" />
            Show all
          </button>
        )}
      </div>
      <div class="fl" ref={frame} role="group" aria-label="Boxes">
        <div style={{ height: `${height}px`, position: "relative" }}>
          {placed.map((one) => (
            <Box
              key={keyOf(one)}
              placed={one}
              trace={trace}
              value={value}
              colour={services[one.box.service] ?? ""}
              dim={(wanted !== "" && trace.services[one.box.service] !== wanted) || (found !== undefined && one.box.row >= 0 && !found[one.box.row])}
              above={one.level < focus.depth}
              onClick={() => setFocus(one.box)}
              onOpen={() => one.box.row >= 0 && state.select(one.box.row)}
            />
          ))}
        </div>
      </div>
    </div>
  );
}

const keyOf = ({ box, level }: Placed): string => `${level} ${box.row} ${box.service} ${box.name}`;

export const boxName = (trace: Trace, box: Flame): string => (box.name === -1 ? "whole trace" : box.name === -2 ? "missing span" : (trace.names[box.name] ?? ""));

interface BoxProps {
  placed: Placed;
  trace: Trace;
  value: number;
  colour: string;
  dim: boolean;
  above: boolean;
  onClick: () => void;
  onOpen: () => void;
}

function Box({ placed: { box, x, width, level }, trace, value, colour, dim, above, onClick, onOpen }: BoxProps) {
  const name = boxName(trace, box);
  const service = box.service < 0 ? "" : `${trace.services[box.service]} · `;
  const title = `${service}${name}: ${duration(box.value)} (${percent(box.value / value)}), self ${duration(box.self)}, ${whole(box.count)} spans${box.errors ? `, ${box.errors} errors` : ""}`;
  return (
    <button
      type="button"
      class={`fl-box ${box.errors ? "failed" : ""} ${dim ? "dim" : ""} ${above ? "above" : ""} ${box.row < 0 ? "root" : ""}`}
      style={{ left: `${x * 100}%`, width: `calc(${width * 100}% - 1px)`, top: `${level * ROW_PX}px`, background: colour || undefined }}
      title={title}
      onClick={onClick}
      onDblClick={onOpen}
    >
      {box.count > 1 && <span class="fl-count">{whole(box.count)} × </span>}
      {name} <span class="fl-time">{duration(box.value)}</span>
    </button>
  );
}
