// A flame graph of a trace: equal operations below one another are one box, as wide as the time spent in it.
import { isError, type Trace } from "./trace.ts";

/** Times in ns. `value`: self time of the box and of all below it */
export interface Flame {
  service: number;
  name: number;
  count: number;
  errors: number;
  self: number;
  value: number;
  /** Its longest span. */
  row: number;
  children: Flame[];
  parent: Flame | undefined;
  depth: number;
}

/** The root stands for the whole trace. */
export function flameGraph(trace: Trace): Flame {
  const make = (row: number, parent: Flame | undefined): Flame => ({
    service: row < 0 ? -1 : trace.service[row]!,
    name: row < 0 ? -1 : row < trace.spans ? trace.name[row]! : -2,
    count: 0,
    errors: 0,
    self: 0,
    value: 0,
    row,
    children: [],
    parent,
    depth: parent ? parent.depth + 1 : 0,
  });
  const root = make(-1, undefined);
  const boxes: Flame[] = [];
  const boxOf = new Array<Flame>(trace.rows);
  const known = new Map<Flame, Map<number, Flame>>();
  const width = trace.names.length + 1;
  for (const row of trace.order) {
    const above = trace.parent[row]! < 0 ? root : boxOf[trace.parent[row]!]!;
    let children = known.get(above);
    if (!children) known.set(above, (children = new Map()));
    const key = trace.service[row]! * width + (row < trace.spans ? trace.name[row]! : trace.names.length);
    let box = children.get(key);
    if (!box) {
      box = make(row, above);
      children.set(key, box);
      above.children.push(box);
      boxes.push(box);
    }
    boxOf[row] = box;
    if (row >= trace.spans) continue;
    box.count += 1;
    box.self += trace.self[row]!;
    if (isError(trace, row)) box.errors += 1;
    if (trace.duration[row]! > trace.duration[box.row]!) box.row = row;
  }
  for (let n = boxes.length - 1; n >= 0; n -= 1) {
    const box = boxes[n]!;
    box.value += box.self;
    box.parent!.value += box.value;
    box.children.sort((a, b) => b.value - a.value);
  }
  root.children.sort((a, b) => b.value - a.value);
  return root;
}

/** A box at its place: x and width from 0 to 1, level from 0. */
export interface Placed {
  box: Flame;
  x: number;
  width: number;
  level: number;
}

/** The boxes to draw, if `focus` fills the width: those above it, and those below that are not too small. */
export function placeFlames(focus: Flame, leastWidth: number): Placed[] {
  const placed: Placed[] = [];
  for (let box: Flame | undefined = focus.parent; box; box = box.parent) placed.push({ box, x: 0, width: 1, level: box.depth });
  const whole = focus.value || 1;
  const waiting: Placed[] = [{ box: focus, x: 0, width: 1, level: focus.depth }];
  while (waiting.length) {
    const here = waiting.pop()!;
    placed.push(here);
    let x = here.x;
    for (const child of here.box.children) {
      const width = child.value / whole;
      if (width < leastWidth) break; // the others are smaller still
      waiting.push({ box: child, x, width, level: child.depth });
      x += width;
    }
  }
  return placed;
}
