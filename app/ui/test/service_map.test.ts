import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServiceMap } from "../src/views/services/data.ts";
import { NODE_HEIGHT, NODE_WIDTH, labelPlaces, overlap, placed } from "../src/views/services/layout.ts";
import { partOf } from "../src/views/services/part.ts";

const LABEL = { width: 80, height: 32 };
const stats = { requests: 1, requestsPerSecond: 1, errors: 0, errorShare: 0, p50Ms: 1, p95Ms: 2, p99Ms: 3 };

/** Services and who calls whom, as "a b" for a → b. */
function mapOf(...calls: string[]): ServiceMap {
  const names = new Set(calls.flatMap((one) => one.split(" ")));
  return {
    source: "traces",
    rangeSeconds: 3600,
    leftOut: 0,
    services: [...names].map((name) => ({ ...stats, name, kind: "service" as const })),
    edges: calls.map((one) => {
      const [client = "", server = ""] = one.split(" ");
      return { ...stats, client, server, kind: "service" as const };
    }),
  };
}

const FAN = ["b", "c", "d", "e", "f", "g", "h"].map((name) => `a ${name}`);

for (const [name, calls] of [
  ["one call", ["a b"]],
  ["many from one", FAN],
  ["many to one", ["b", "c", "d", "e"].map((one) => `${one} z`)],
  ["over a column", ["a b", "b c", "a c"]],
] as const)
  test(`labels of the map hide neither services nor each other: ${name}`, () => {
    const { nodes, edges } = placed(mapOf(...calls));
    const places = [...labelPlaces(edges, nodes, LABEL).values()];
    assert.equal(places.length, calls.length);
    for (const [at, place] of places.entries()) {
      for (const node of nodes) assert.equal(overlap(place, LABEL, node, { width: NODE_WIDTH, height: NODE_HEIGHT }), 0);
      for (const other of places.slice(at + 1)) assert.equal(overlap(place, LABEL, other, LABEL), 0);
    }
  });

test("a label without room hides as little as it can", () => {
  const { nodes, edges } = placed(mapOf("a b"));
  const large = { width: 400, height: 200 };
  assert.equal(labelPlaces(edges, nodes, large).size, 1);
});

test("boxes overlap by what both cover", () => {
  const size = { width: 10, height: 10 };
  assert.equal(overlap({ x: 0, y: 0 }, size, { x: 4, y: 7 }, size), 18);
  assert.equal(overlap({ x: 0, y: 0 }, size, { x: 10, y: 0 }, size), 0);
  assert.equal(overlap({ x: 0, y: 0 }, size, { x: 1, y: 1 }, { width: 2, height: 2 }), 4);
});

const namesOf = (map: ServiceMap): string => map.services.map((one) => one.name).sort().join(" ");

test("around a service are its callers and callees, two calls far, and what connects them", () => {
  const map = mapOf("a b", "b c", "c d", "d e", "e f", "a x", "x e", "y z");
  const { map: part, alone } = partOf(map, "c");
  assert.equal(namesOf(part), "a b c d e");
  assert.deepEqual(part.edges.map((one) => one.client + one.server), ["ab", "bc", "cd", "de"]);
  assert.equal(alone, 0);
  assert.equal(partOf(map, "nobody").map, map);
});

test("a large map leaves out who has no connections", () => {
  const calls = Array.from({ length: 25 }, (_, at) => `s${at} s${at + 1}`);
  const small = mapOf(...calls, "alone alone");
  small.edges.pop();
  assert.equal(partOf(small, "").map, small);
  const many = mapOf(...calls, ...Array.from({ length: 30 }, (_, at) => `alone${at} alone${at}`));
  many.edges.splice(calls.length);
  const { map, alone } = partOf(many, "");
  assert.deepEqual([map.services.length, map.edges.length, alone], [26, 25, 30]);
  many.edges = [];
  assert.equal(partOf(many, "").map, many);
});
