// Where the nodes and edges of the map lie: from left to right, callers before those they call.
import { Graph, layout as place } from "@dagrejs/dagre";
import { type ServiceEdge, type ServiceMap, type ServiceNode, nodeId } from "./data.ts";

export interface PlacedNode {
  id: string;
  node: ServiceNode;
  /** Of the middle. */
  x: number;
  y: number;
}

export interface PlacedEdge {
  id: string;
  edge: ServiceEdge;
  from: string;
  to: string;
  points: readonly Point[];
}

export interface Point {
  x: number;
  y: number;
}

export interface Placed {
  nodes: PlacedNode[];
  edges: PlacedEdge[];
  width: number;
  height: number;
}

export const NODE_WIDTH = 172;
export const NODE_HEIGHT = 52;

export function placed(map: ServiceMap): Placed {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 18, ranksep: 84, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  const nodes = new Map<string, ServiceNode>(map.services.map((one) => [nodeId(one.kind, one.name), one]));
  for (const id of nodes.keys()) graph.setNode(id, { width: NODE_WIDTH, height: NODE_HEIGHT });
  const edges = new Map<string, ServiceEdge>();
  for (const edge of map.edges) {
    const [from, to] = [nodeId("service", edge.client), nodeId(edge.kind, edge.server)];
    if (!nodes.has(from) || !nodes.has(to)) continue;
    const id = `${from} → ${to}`;
    edges.set(id, edge);
    graph.setEdge(from, to, {}, id);
  }
  place(graph);
  const size = graph.graph() as { width?: number; height?: number };
  return {
    nodes: [...nodes].map(([id, node]) => {
      const { x, y } = graph.node(id) as { x: number; y: number };
      return { id, node, x, y };
    }),
    edges: graph.edges().map((one) => {
      const { points } = graph.edge(one) as { points: Point[] };
      return { id: one.name!, edge: edges.get(one.name!)!, from: one.v, to: one.w, points };
    }),
    width: size.width ?? 0,
    height: size.height ?? 0,
  };
}

/** A smooth way through the points. */
export function pathOf(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${first.x},${first.y}`;
  for (let at = 0; at < rest.length; at += 1) {
    const [from, to] = [points[at]!, rest[at]!];
    const middle = (from.x + to.x) / 2;
    path += ` C${middle},${from.y} ${middle},${to.y} ${to.x},${to.y}`;
  }
  return path;
}

const STEPS = 8; // a piece between two points of a way

/** Points of the way that `pathOf` draws, those in the middle first. */
function along(points: readonly Point[]): Point[] {
  const found: Point[] = [];
  for (let at = 0; at + 1 < points.length; at += 1) {
    const [from, to] = [points[at]!, points[at + 1]!];
    for (let step = at ? 1 : 0; step <= STEPS; step += 1) {
      const t = step / STEPS;
      const rest = 1 - t;
      const bend = 3 * rest * t; // the weight of both control points together, which share one x
      found.push({
        x: rest ** 3 * from.x + (bend * (from.x + to.x)) / 2 + t ** 3 * to.x,
        y: (rest ** 3 + bend * rest) * from.y + (bend * t + t ** 3) * to.y,
      });
    }
  }
  const middle = (found.length - 1) / 2;
  return found
    .map((point, at) => ({ point, off: Math.abs(at - middle) }))
    .sort((a, b) => a.off - b.off)
    .map((one) => one.point);
}

interface Size {
  width: number;
  height: number;
}

/** How much of two boxes is the same. They are given by their middles. */
export function overlap(a: Point, of: Size, b: Point, other: Size): number {
  const width = (of.width + other.width) / 2 - Math.abs(a.x - b.x);
  const height = (of.height + other.height) / 2 - Math.abs(a.y - b.y);
  return width > 0 && height > 0 ? Math.min(width, of.width, other.width) * Math.min(height, of.height, other.height) : 0;
}

/** Where the labels of these edges hide least: as near to the middle as they cover neither a node nor each other. */
export function labelPlaces(edges: readonly PlacedEdge[], nodes: readonly PlacedNode[], size: Size): Map<string, Point> {
  const places = new Map<string, Point>();
  const node = { width: NODE_WIDTH, height: NODE_HEIGHT };
  for (const edge of edges) {
    let best: Point | undefined;
    let least = Infinity;
    for (const point of along(edge.points)) {
      let hidden = 0;
      for (const one of nodes) hidden += overlap(point, size, one, node);
      for (const one of places.values()) hidden += overlap(point, size, one, size);
      if (hidden < least) [best, least] = [point, hidden];
      if (!hidden) break;
    }
    if (best) places.set(edge.id, best);
  }
  return places;
}
