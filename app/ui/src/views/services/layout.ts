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
  points: readonly { x: number; y: number }[];
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
      const { points } = graph.edge(one) as { points: { x: number; y: number }[] };
      return { id: one.name!, edge: edges.get(one.name!)!, from: one.v, to: one.w, points };
    }),
    width: size.width ?? 0,
    height: size.height ?? 0,
  };
}

/** A smooth way through the points. */
export function pathOf(points: readonly { x: number; y: number }[]): string {
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
