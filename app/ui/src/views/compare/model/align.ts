// Two traces laid over each other: operations with the same place in the tree are one node, with the spans of both.
import { endOf, isError, isMissing, nameOf, serviceOf, type Trace } from "../../trace/model/trace.ts";

/** What one trace has at a node. Times in ns; `start` and `end` from the start of its trace */
export interface Side {
  rows: readonly number[];
  total: number;
  self: number;
  errors: number;
  start: number;
  end: number;
}

export type Kind = "same" | "slower" | "faster" | "new" | "missing";

export interface Node {
  service: string;
  name: string;
  a: Side;
  b: Side;
  kind: Kind;
  /** b's self time less a's. */
  selfDelta: number;
  parent: Node | undefined;
  children: Node[];
  depth: number;
  /** Nodes of the subtree, itself included. */
  size: number;
  /** It or something below it differs. */
  differs: boolean;
}

export interface Aligned {
  /** Each node before its children. */
  nodes: readonly Node[];
  tops: readonly Node[];
}

/** From so many equal siblings on, or where their numbers differ, they are one node. */
const APART_MAX = 4;
/** A change is more than both: a share of the longer time, and of the longer trace. */
const SHARE_OF_TIME = 0.1;
const SHARE_OF_TRACE = 0.005;

export function align(a: Trace, b: Trace): Aligned {
  const leastNs = SHARE_OF_TRACE * Math.max(a.durationNs, b.durationNs);
  const nodes: Node[] = [];
  const tops: Node[] = [];
  interface Waiting {
    rowsA: readonly number[];
    rowsB: readonly number[];
    parent: Node | undefined;
  }
  const waiting: Waiting[] = paired(a, b, [...a.tops], [...b.tops]).map(([rowsA, rowsB]) => ({ rowsA, rowsB, parent: undefined }));
  waiting.reverse();
  while (waiting.length) {
    const { rowsA, rowsB, parent } = waiting.pop()!;
    const node = makeNode(a, b, rowsA, rowsB, parent, leastNs);
    nodes.push(node);
    (parent ? parent.children : tops).push(node);
    const below = paired(a, b, childrenOf(a, rowsA), childrenOf(b, rowsB));
    for (let n = below.length - 1; n >= 0; n -= 1) waiting.push({ rowsA: below[n]![0], rowsB: below[n]![1], parent: node });
  }
  for (let n = nodes.length - 1; n >= 0; n -= 1) {
    const node = nodes[n]!;
    node.size += 1;
    node.differs ||= node.kind !== "same" || node.a.errors !== node.b.errors || node.a.rows.length !== node.b.rows.length;
    if (node.parent) {
      node.parent.size += node.size;
      node.parent.differs ||= node.differs;
    }
  }
  return { nodes, tops };
}

function childrenOf(trace: Trace, rows: readonly number[]): number[] {
  const found: number[] = [];
  for (const row of rows) for (let n = trace.childAt[row]!; n < trace.childAt[row + 1]!; n += 1) found.push(trace.children[n]!);
  return found;
}

/** Which rows belong together, in the order in which they start in the first trace; new ones stand where they start. */
function paired(a: Trace, b: Trace, rowsA: readonly number[], rowsB: readonly number[]): [number[], number[]][] {
  const groups = new Map<string, [number[], number[]]>();
  const of = (trace: Trace, row: number): [number[], number[]] => {
    // A missing parent is the same operation as another one, for all one knows.
    const key = isMissing(trace, row) ? "\0" : `${serviceOf(trace, row)}\0${nameOf(trace, row)}`;
    let found = groups.get(key);
    if (!found) groups.set(key, (found = [[], []]));
    return found;
  };
  for (const row of rowsA) of(a, row)[0].push(row);
  for (const row of rowsB) of(b, row)[1].push(row);
  const out: [number[], number[]][] = [];
  for (const [ofA, ofB] of groups.values()) {
    const apart = ofA.length <= APART_MAX && ofB.length <= APART_MAX && (ofA.length === ofB.length || !ofA.length || !ofB.length);
    if (!apart) out.push([ofA, ofB]);
    else for (let n = 0; n < Math.max(ofA.length, ofB.length); n += 1) out.push([ofA.slice(n, n + 1), ofB.slice(n, n + 1)]);
  }
  const first = ([ofA, ofB]: [number[], number[]]): number => (ofA.length ? share(a, rowsA, ofA[0]!) : share(b, rowsB, ofB[0]!));
  return out
    .map((pair) => ({ pair, at: first(pair) }))
    .sort((x, y) => x.at - y.at)
    .map(({ pair }) => pair);
}

/** When a row starts among its siblings, from 0 to 1: what two traces have in common. */
function share(trace: Trace, siblings: readonly number[], row: number): number {
  const begin = trace.start[siblings[0]!]!;
  const end = trace.start[siblings[siblings.length - 1]!]!;
  return end > begin ? (trace.start[row]! - begin) / (end - begin) : 0;
}

function side(trace: Trace, rows: readonly number[]): Side {
  const found: Side = { rows, total: 0, self: 0, errors: 0, start: Infinity, end: -Infinity };
  for (const row of rows) {
    found.total += trace.duration[row]!;
    found.self += trace.self[row]!;
    if (isError(trace, row)) found.errors += 1;
    found.start = Math.min(found.start, trace.start[row]!);
    found.end = Math.max(found.end, endOf(trace, row));
  }
  return found;
}

function makeNode(
  a: Trace,
  b: Trace,
  rowsA: readonly number[],
  rowsB: readonly number[],
  parent: Node | undefined,
  leastNs: number,
): Node {
  const [trace, row] = rowsA.length ? [a, rowsA[0]!] : [b, rowsB[0]!];
  const sides = { a: side(a, rowsA), b: side(b, rowsB) };
  return {
    service: serviceOf(trace, row),
    name: nameOf(trace, row),
    ...sides,
    kind: kindOf(sides.a, sides.b, leastNs),
    selfDelta: sides.b.self - sides.a.self,
    parent,
    children: [],
    depth: parent ? parent.depth + 1 : 0,
    size: 0,
    differs: false,
  };
}

function kindOf(a: Side, b: Side, leastNs: number): Kind {
  if (!a.rows.length) return "new";
  if (!b.rows.length) return "missing";
  const delta = b.total - a.total;
  if (Math.abs(delta) <= Math.max(leastNs, SHARE_OF_TIME * Math.max(a.total, b.total))) return "same";
  return delta > 0 ? "slower" : "faster";
}

/** One operation over all its places: what it costs more or less. Times in ns, `self` of b less that of a */
export interface Difference {
  service: string;
  name: string;
  kind: Kind | "errors" | "count";
  self: number;
  countA: number;
  countB: number;
  errorsA: number;
  errorsB: number;
  /** Where the difference is greatest. */
  node: Node;
}

/** What differs, by operation, the greatest change of self time first: that is where the time went. */
export function differences(aligned: Aligned, leastNs: number): Difference[] {
  const groups = new Map<string, Difference>();
  for (const node of aligned.nodes) {
    const key = `${node.service}\0${node.name}`;
    let found = groups.get(key);
    if (!found) {
      const { service, name } = node;
      found = { service, name, kind: "same", self: 0, countA: 0, countB: 0, errorsA: 0, errorsB: 0, node };
      groups.set(key, found);
    }
    found.self += node.selfDelta;
    found.countA += node.a.rows.length;
    found.countB += node.b.rows.length;
    found.errorsA += node.a.errors;
    found.errorsB += node.b.errors;
    if (weight(node) > weight(found.node)) found.node = node;
  }
  const out = [...groups.values()];
  for (const one of out) one.kind = differenceKind(one, leastNs);
  return out.filter((one) => one.kind !== "same").sort((x, y) => rank(y) - rank(x) || Math.abs(y.self) - Math.abs(x.self));
}

const weight = (node: Node): number => Math.abs(node.selfDelta) + (node.differs && node.a.errors !== node.b.errors ? 1 : 0);

function differenceKind(one: Difference, leastNs: number): Difference["kind"] {
  if (!one.countA) return "new";
  if (!one.countB) return "missing";
  if (one.self > leastNs) return "slower";
  if (one.self < -leastNs) return "faster";
  if (one.errorsA !== one.errorsB) return "errors";
  return one.countA === one.countB ? "same" : "count";
}

/** More errors come first: they explain times, and are not explained by them. */
const rank = (one: Difference): number => (one.errorsB > one.errorsA ? 1 : 0);
