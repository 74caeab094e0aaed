import assert from "node:assert/strict";
import { test } from "node:test";
import { align, differences, type Node } from "../../src/views/compare/model/align.ts";
import { randomTrace, type Spec, traceOf } from "./build.ts";

const BASE: Spec[] = [
  { id: "a", name: "GET /", from: 0, to: 100 },
  { id: "b", parent: "a", name: "auth", from: 5, to: 15 },
  { id: "c", parent: "a", name: "SELECT", service: "db", from: 20, to: 40 },
  { id: "d", parent: "a", name: "render", from: 50, to: 90 },
];

const told = (node: Node): string => `${"-".repeat(node.depth)}${node.name} ${node.kind} ${node.a.rows.length}:${node.b.rows.length}`;

test("a trace compared with itself is the same", () => {
  const aligned = align(traceOf(BASE), traceOf(BASE));
  assert.ok(aligned.nodes.every((node) => node.kind === "same" && !node.differs));
  assert.deepEqual(differences(aligned, 0), []);
});

test("slower, missing, new and repeated are told, where they are", () => {
  const other: Spec[] = [
    { id: "a", name: "GET /", from: 0, to: 400 },
    ...Array.from({ length: 30 }, (_, n) => ({ id: `q${n}`, parent: "a", name: "SELECT", service: "db", from: 20 + n * 10, to: 29 + n * 10 })),
    { id: "x", parent: "a", name: "retry", from: 325, to: 345 },
    { id: "d", parent: "a", name: "render", from: 350, to: 390, error: true },
  ];
  const aligned = align(traceOf(BASE), traceOf(other));
  assert.deepEqual(aligned.nodes.map(told), [
    "GET / slower 1:1",
    "-auth missing 1:0",
    "-SELECT slower 1:30",
    "-retry new 0:1",
    "-render same 1:1",
  ]);
  assert.equal(aligned.nodes[0]!.size, 5);
  const found = differences(aligned, 1);
  assert.equal(found[0]!.name, "render"); // an error that was not there before
  assert.deepEqual(found.slice(1).map((one) => [one.name, one.kind, one.self]), [
    ["SELECT", "slower", 250],
    ["GET /", "slower", 40],
    ["retry", "new", 20],
    ["auth", "missing", -10],
  ]);
});

test("every span of both traces is in one node", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const [a, b] = [randomTrace(150, seed), randomTrace(150, seed + 1000)];
    const aligned = align(a, b);
    for (const [trace, side] of [
      [a, "a"],
      [b, "b"],
    ] as const) {
      const rows = aligned.nodes.flatMap((node) => [...node[side].rows]).sort((x, y) => x - y);
      assert.deepEqual(rows, Array.from({ length: trace.rows }, (_, row) => row), `seed ${seed}`);
    }
    const delta = aligned.nodes.reduce((sum, node) => sum + node.selfDelta, 0);
    const sum = (values: Float64Array): number => values.reduce((all, one) => all + one, 0);
    assert.ok(Math.abs(delta - (sum(b.self) - sum(a.self))) < 1e-6);
  }
});
