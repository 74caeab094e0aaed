// The map of services: SVG, moved by dragging, enlarged with the wheel or the buttons.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Icon } from "../../components/icon.tsx";
import { colourOf } from "../../lib/colours.ts";
import { duration, percent, rate } from "../../lib/format.ts";
import { isDark } from "../../state/theme.ts";
import { type ServiceMap, type Stats, shownName } from "./data.ts";
import { NODE_HEIGHT, NODE_WIDTH, type PlacedEdge, type PlacedNode, type Point, labelPlaces, pathOf, placed } from "./layout.ts";

interface Props {
  map: ServiceMap;
  selected: string;
  onSelect: (service: string) => void;
}

const HEIGHT = 560;
const LABEL = { width: 80, height: 32 };

export function MapView({ map, selected, onSelect }: Props) {
  const graph = useMemo(() => placed(map), [map]);
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(1000);
  const [view, setView] = useState({ x: 0, y: 0, scale: 1 });
  const [hovered, setHovered] = useState("");
  const height = Math.min(HEIGHT, Math.max(220, graph.height + 8));
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(entry!.contentRect.width));
    observer.observe(frame.current!);
    return () => observer.disconnect();
  }, []);
  const fit = () => {
    const scale = Math.min(1.25, width / Math.max(1, graph.width), height / Math.max(1, graph.height));
    setView({ scale, x: (width - graph.width * scale) / 2, y: (height - graph.height * scale) / 2 });
  };
  useEffect(fit, [graph, width]);
  const zoom = (factor: number, x = width / 2, y = height / 2) =>
    setView((before) => {
      const scale = Math.min(2.5, Math.max(0.15, before.scale * factor));
      const real = scale / before.scale;
      return { scale, x: x - (x - before.x) * real, y: y - (y - before.y) * real };
    });
  const dragged = useRef<{ x: number; y: number } | undefined>(undefined);
  const busiest = Math.max(...graph.edges.map((one) => one.edge.requestsPerSecond), 1e-9);
  const near = (edge: PlacedEdge) => hovered === edge.id || hovered === edge.from || hovered === edge.to;
  const labelled = hovered ? graph.edges.filter(near) : [];
  const places = labelPlaces(labelled, graph.nodes, LABEL);
  return (
    <div
      class="map"
      ref={frame}
      style={{ height: `${height}px` }}
      onWheel={(event) => {
        if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
        event.preventDefault();
        zoom(Math.exp(-event.deltaY / 300), event.offsetX, event.offsetY);
      }}
      onPointerDown={(event) => {
        if ((event.target as Element).closest("button, .node")) return;
        dragged.current = { x: event.clientX, y: event.clientY };
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => {
        const from = dragged.current;
        if (!from) return;
        dragged.current = { x: event.clientX, y: event.clientY };
        setView((before) => ({ ...before, x: before.x + event.clientX - from.x, y: before.y + event.clientY - from.y }));
      }}
      onPointerUp={() => (dragged.current = undefined)}
    >
      <svg width="100%" height={height} role="group" aria-label={`${graph.nodes.length} services and databases, ${graph.edges.length} connections`}>
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">
            <path d="M0,0.5 L7.5,4 L0,7.5z" class="arrow" />
          </marker>
        </defs>
        <g transform={`translate(${view.x} ${view.y}) scale(${view.scale})`}>
          {graph.edges.map((one) => (
            <EdgeShape
              key={one.id}
              placed={one}
              width={1 + 4 * Math.sqrt(one.edge.requestsPerSecond / busiest)}
              state={!hovered ? "" : near(one) ? "near" : "far"}
              onHover={setHovered}
            />
          ))}
          {graph.nodes.map((one) => (
            <NodeShape key={one.id} placed={one} selected={one.node.kind === "service" && one.node.name === selected} onHover={setHovered} onSelect={onSelect} />
          ))}
          {labelled.map((one) => (
            <EdgeLabel key={one.id} placed={one} at={places.get(one.id)!} />
          ))}
        </g>
      </svg>
      <div class="map-tools">
        <button type="button" class="button icon small" aria-label="Larger" onClick={() => zoom(1.3)}>
          <Icon name="plus" />
        </button>
        <button type="button" class="button icon small" aria-label="Smaller" onClick={() => zoom(1 / 1.3)}>
          <Icon name="minus" />
        </button>
        <button type="button" class="button small" onClick={fit}>
          Fit
        </button>
      </div>
    </div>
  );
}

export const statsText = (stats: Stats): string =>
  `${rate(stats.requestsPerSecond)}, ${percent(stats.errorShare)} errors, p50 ${ms(stats.p50Ms)}, p95 ${ms(stats.p95Ms)}, p99 ${ms(stats.p99Ms)}`;

export const ms = (value: number | undefined): string => (value === undefined ? "–" : duration(value * 1e6));

const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function NodeShape(props: { placed: PlacedNode; selected: boolean; onHover: (id: string) => void; onSelect: (service: string) => void }) {
  const { id, node, x, y } = props.placed;
  const isService = node.kind === "service";
  const choose = () => isService && props.onSelect(node.name);
  const failing = node.errorShare > 0.01;
  return (
    <g
      class={`node ${node.kind}${props.selected ? " selected" : ""}${failing ? " failing" : ""}`}
      transform={`translate(${x - NODE_WIDTH / 2} ${y - NODE_HEIGHT / 2})`}
      role={isService ? "button" : "img"}
      tabIndex={isService ? 0 : undefined}
      aria-pressed={isService ? props.selected : undefined}
      aria-label={isService ? undefined : `${node.name}: ${statsText(node)}`}
      onClick={choose}
      onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        choose();
      }}
      onPointerEnter={() => props.onHover(id)}
      onPointerLeave={() => props.onHover("")}
      onFocus={() => props.onHover(id)}
      onBlur={() => props.onHover("")}
    >
      <desc>{`${shownName(node.name)}: ${statsText(node)}`}</desc>
      <rect width={NODE_WIDTH} height={NODE_HEIGHT} rx={isService ? 9 : NODE_HEIGHT / 2} class="node-box" />
      {isService ? (
        <rect x={0} y={0} width={5} height={NODE_HEIGHT} rx={2.5} fill={colourOf(node.name, isDark.value)} />
      ) : (
        <path class="cylinder" transform="translate(14 17)" d="M0,3 a7,3 0 0 0 14,0 a7,3 0 0 0 -14,0 v12 a7,3 0 0 0 14,0 v-12 M0,9 a7,3 0 0 0 14,0" />
      )}
      <text x={isService ? 15 : 36} y={21} class="node-name">
        {`${cut(shownName(node.name), isService ? 20 : 16)} `}
      </text>
      <text x={isService ? 15 : 36} y={39} class="node-stats">
        {`${rate(node.requestsPerSecond)} · p95 ${ms(node.p95Ms)} `}
      </text>
      {failing && (
        <text x={NODE_WIDTH - 10} y={21} text-anchor="end" class="node-errors">
          {percent(node.errorShare)}
        </text>
      )}
    </g>
  );
}

function EdgeShape(props: { placed: PlacedEdge; width: number; state: string; onHover: (id: string) => void }) {
  const { edge, id, points } = props.placed;
  return (
    <g class={`edge ${props.state}${edge.errorShare > 0.01 ? " failing" : ""}`} onPointerEnter={() => props.onHover(id)} onPointerLeave={() => props.onHover("")}>
      <title>{`${shownName(edge.client)} → ${shownName(edge.server)}: ${statsText(edge)}`}</title>
      <path d={pathOf(points)} class="edge-hit" />
      <path d={pathOf(points)} class="edge-line" style={{ strokeWidth: String(props.width) }} marker-end="url(#arrow)" />
    </g>
  );
}

/** Two short lines: the gap between two columns of services has no room for more. The rest is in the edge's title. */
function EdgeLabel({ placed: { edge }, at }: { placed: PlacedEdge; at: Point }) {
  return (
    <g class="edge-label" transform={`translate(${at.x} ${at.y})`}>
      <rect x={-LABEL.width / 2} y={-LABEL.height / 2} width={LABEL.width} height={LABEL.height} rx={5} />
      <text text-anchor="middle" y={-3}>
        {`${rate(edge.requestsPerSecond)} `}
        {edge.errors > 0 && <tspan class="edge-errors">{percent(edge.errorShare)}</tspan>}
      </text>
      <text text-anchor="middle" y={11}>
        {`p95 ${ms(edge.p95Ms)} `}
      </text>
    </g>
  );
}
