// Which part of a large map is drawn.
import { type ServiceMap, nodeId } from "./data.ts";

/** A map of so many services and databases can be read as a whole. */
const READABLE_MAX = 40;
/** How many calls away from a service the map around it goes. */
const CALLS_AROUND = 2;

export interface Part {
  map: ServiceMap;
  /** Services and databases of the whole map that have no connections, and are left out. */
  alone: number;
}

/** What can be drawn so that one can read it. around: a service, whose callers and callees are wanted only; "": all */
export function partOf(map: ServiceMap, around: string): Part {
  const known = map.services.some((one) => one.kind === "service" && one.name === around);
  const kept = around && known ? reached(map, around) : map.services.length > READABLE_MAX ? connected(map) : undefined;
  if (!kept || kept.size === 0) return { map, alone: 0 };
  const services = map.services.filter((one) => kept.has(nodeId(one.kind, one.name)));
  const edges = map.edges.filter((one) => kept.has(nodeId("service", one.client)) && kept.has(nodeId(one.kind, one.server)));
  return { map: { ...map, services, edges }, alone: around && known ? 0 : map.services.length - services.length };
}

function connected(map: ServiceMap): Set<string> {
  return new Set(map.edges.flatMap((one) => [nodeId("service", one.client), nodeId(one.kind, one.server)]));
}

/** Who calls the service, directly or not, and whom it calls. */
function reached(map: ServiceMap, service: string): Set<string> {
  const start = nodeId("service", service);
  const found = new Set([start]);
  for (const downwards of [true, false]) {
    let last = new Set([start]);
    for (let calls = 0; calls < CALLS_AROUND; calls += 1) {
      const next = new Set<string>();
      for (const edge of map.edges) {
        const ends = [nodeId("service", edge.client), nodeId(edge.kind, edge.server)] as const;
        const [from, to] = downwards ? ends : [ends[1], ends[0]];
        if (last.has(from)) next.add(to);
      }
      for (const one of next) found.add(one);
      last = next;
    }
  }
  return found;
}
