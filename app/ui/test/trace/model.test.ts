import assert from "node:assert/strict";
import { test } from "node:test";
import { bottleneck } from "../../src/views/trace/model/bottleneck.ts";
import { criticalPath, mainTop } from "../../src/views/trace/model/critical_path.ts";
import { both, counted, findText, longerThan, mark } from "../../src/views/trace/model/find.ts";
import { flameGraph, placeFlames } from "../../src/views/trace/model/flame.ts";
import { findFolds } from "../../src/views/trace/model/folds.ts";
import { gaps } from "../../src/views/trace/model/gaps.ts";
import { readOutline } from "../../src/views/trace/model/outline.ts";
import { unpack } from "../../src/views/trace/model/packed.ts";
import { collapsedBelow, collapsedByService, linesOf, reveal, type Shown, withAncestors } from "../../src/views/trace/model/rows.ts";
import { statistics } from "../../src/views/trace/model/statistics.ts";
import { Flag, nameOf, rowOfId, spanIdOf, type Trace } from "../../src/views/trace/model/trace.ts";
import { idBytes, idHex, namesOf, randomTrace, type Spec, traceOf } from "./build.ts";

const plain = (trace: Trace, more: Partial<Shown> = {}): Shown => ({
  collapsed: new Uint8Array(trace.rows),
  unfolded: new Set(),
  folding: false,
  ...more,
});

const SHOP: Spec[] = [
  { id: "a", from: 0, to: 100, service: "web" },
  { id: "b", parent: "a", from: 10, to: 60, service: "cart" },
  { id: "c", parent: "b", from: 20, to: 30, service: "cart" },
  { id: "d", parent: "b", from: 25, to: 55, service: "db", error: true },
  { id: "e", parent: "a", from: 70, to: 95, service: "web" },
];

test("a tree has depths, sizes, self times and errors below", () => {
  const trace = traceOf(SHOP);
  assert.equal(namesOf(trace, trace.order), "a b c d e");
  assert.deepEqual([...trace.depth], [0, 1, 2, 2, 1]);
  assert.deepEqual([...trace.size], [5, 3, 1, 1, 1]);
  assert.deepEqual([...trace.self], [25, 15, 10, 30, 25]);
  assert.deepEqual([...trace.flags].map((flag) => flag & Flag.errorBelow), [8, 8, 0, 8, 0]);
  assert.equal(trace.errors, 1);
});

test("self time does not count what children do at once twice, nor what they do behind the end", () => {
  const trace = traceOf([
    { id: "a", from: 0, to: 100 },
    { id: "b", parent: "a", from: 10, to: 50 },
    { id: "c", parent: "a", from: 20, to: 40 },
    { id: "d", parent: "a", from: 30, to: 60 },
    { id: "e", parent: "a", from: 90, to: 150 },
  ]);
  assert.equal(trace.self[0], 40);
});

test("missing parents have a row of their own, shared by their children", () => {
  const trace = traceOf([
    { id: "a", from: 0, to: 100 },
    { id: "b", parent: "gone", from: 20, to: 60 },
    { id: "c", parent: "gone", from: 10, to: 30 },
    { id: "d", parent: "lost", from: 15, to: 30 },
  ]);
  assert.equal(trace.rows, 6);
  assert.equal(trace.orphans, 3);
  assert.equal(namesOf(trace, trace.order), "a ? c b ? d");
  assert.deepEqual([trace.start[4], trace.duration[4]], [10, 50]);
  assert.equal(nameOf(trace, 4), "missing span");
  assert.equal(spanIdOf(trace, 4), idHex("gone"));
  assert.equal(rowOfId(trace, idHex("gone")), 4);
});

test("circles are shown as roots, and said", () => {
  const trace = traceOf([
    { id: "a", from: 0, to: 10 },
    { id: "b", parent: "c", from: 1, to: 2 },
    { id: "c", parent: "b", from: 2, to: 3 },
  ]);
  assert.deepEqual([trace.cycles, trace.rows], [1, 3]);
  assert.equal(namesOf(trace, trace.order), "a b c");
  assert.equal(trace.flags[1]! & Flag.cycle, Flag.cycle);
});

test("a span before its parent is skewed", () => {
  const trace = traceOf([
    { id: "a", from: 5, to: 10 },
    { id: "b", parent: "a", from: 2, to: 6 },
  ]);
  assert.equal(trace.skewed, 1);
  assert.equal(namesOf(trace, trace.order), "a b");
});

test("span ids are found both ways", () => {
  const trace = traceOf(SHOP);
  for (let row = 0; row < trace.rows; row += 1) assert.equal(rowOfId(trace, spanIdOf(trace, row)), row);
  assert.equal(rowOfId(trace, "ffffffffffffffff"), -1);
  assert.equal(rowOfId(trace, "no id"), -1);
});

test("the critical path leads back from the end, and fills the time of its span", () => {
  const trace = traceOf(SHOP);
  const { segments, time } = criticalPath(trace, 0);
  assert.deepEqual(
    segments.map(({ row, from, to }) => [namesOf(trace, [row]), from, to]),
    [
      ["a", 0, 10],
      ["b", 10, 25],
      ["d", 25, 55],
      ["b", 55, 60],
      ["a", 60, 70],
      ["e", 70, 95],
      ["a", 95, 100],
    ],
  );
  assert.deepEqual([...time], [25, 20, 0, 30, 25]);
});

test("the critical path of any trace fills the duration of its first span without a gap", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const trace = randomTrace(80, seed);
    const top = mainTop(trace);
    const { segments } = criticalPath(trace, top);
    let at = trace.start[top]!;
    for (const { from, to } of segments) {
      assert.equal(from, at, `seed ${seed}`);
      at = to;
    }
    assert.equal(at, trace.start[top]! + trace.duration[top]!, `seed ${seed}`);
  }
});

test("most of the time goes to the operation that is longest on the path, of all of its spans together", () => {
  const trace = traceOf([
    { id: "a", service: "web", from: 0, to: 100 },
    { id: "q1", parent: "a", service: "db", name: "SELECT", from: 0, to: 20 },
    { id: "q2", parent: "a", service: "db", name: "SELECT", from: 20, to: 45 },
    { id: "p", parent: "a", service: "pay", from: 45, to: 80 },
    { id: "async", parent: "a", service: "mail", from: 10, to: 75 },
  ]);
  const most = bottleneck(trace, criticalPath(trace, 0))!;
  assert.deepEqual([most.service, most.name, most.spans, most.ns, most.share], ["db", "SELECT", 2, 45, 0.45]);
  assert.equal(spanIdOf(trace, most.row), spanIdOf(trace, trace.start.indexOf(20)));
  assert.equal(bottleneck(trace, { segments: [], time: new Float64Array(5) }), undefined);
});

test("without a root the path begins at what lasts longest", () => {
  const trace = traceOf([
    { id: "b", parent: "x", from: 0, to: 10 },
    { id: "c", parent: "y", from: 0, to: 30 },
  ]);
  assert.equal(spanIdOf(trace, mainTop(trace)), idHex("y"));
});

test("gaps are where no child runs", () => {
  const trace = traceOf(SHOP);
  const found = gaps(trace, 6, 10).map((one) => [
    namesOf(trace, [one.row]),
    one.from,
    one.to,
    one.before < 0 ? "" : namesOf(trace, [one.before]),
    one.after < 0 ? "" : namesOf(trace, [one.after]),
  ]);
  assert.deepEqual(found, [
    ["a", 0, 10, "", "b"],
    ["a", 60, 70, "b", "e"],
    ["b", 10, 20, "", "c"],
  ]);
  assert.equal(gaps(trace, 1, 2).length, 2);
});

test("statistics sum to the whole trace", () => {
  const trace = traceOf(SHOP);
  const { time } = criticalPath(trace, 0);
  const found = statistics(trace, "service", time);
  assert.deepEqual(
    found.map((one) => [one.service, one.count, one.errors, one.total, one.self, one.critical, one.min, one.max]),
    [
      ["web", 2, 0, 125, 50, 50, 25, 100],
      ["db", 1, 1, 30, 30, 30, 30, 30],
      ["cart", 2, 0, 60, 25, 20, 10, 50],
    ],
  );
  assert.equal(statistics(trace, "operation", time).length, 5);
  assert.deepEqual(statistics(trace, "service", time, new Uint8Array(trace.rows)), []);
});

const LOOP: Spec[] = [
  { id: "a", from: 0, to: 100 },
  ...Array.from({ length: 6 }, (_, n) => ({ id: `q${n}`, name: "SELECT", parent: "a", from: n * 10, to: n * 10 + 5 })),
  { id: "x", parent: "a", from: 12, to: 14 },
  { id: "y", parent: "q1", from: 11, to: 13 },
];

function shown(trace: Trace, lines: ReturnType<typeof linesOf>): string {
  return Array.from({ length: lines.count }, (_, line) => {
    const name = namesOf(trace, [lines.row[line]!]);
    return `${"-".repeat(lines.level[line]!)}${lines.group[line]! >= 0 ? `${name}*` : name}`;
  }).join(" ");
}

test("repeated siblings are one line until they are unfolded", () => {
  const trace = traceOf(LOOP);
  const folds = findFolds(trace);
  assert.deepEqual(folds.members.map((rows) => rows.length), [6]);
  const lines = linesOf(trace, folds, plain(trace, { folding: true }));
  assert.equal(shown(trace, lines), "a -SELECT* -x");
  const hidden = rowOfId(trace, idHex("q3"));
  assert.equal(lines.lineOf(hidden), 1);
  const open = reveal(trace, folds, plain(trace, { folding: true }), rowOfId(trace, idHex("y")));
  assert.equal(
    shown(trace, linesOf(trace, folds, open)),
    "a -SELECT* --SELECT --SELECT ---y --SELECT --SELECT --SELECT --SELECT -x",
  );
  assert.equal(shown(trace, linesOf(trace, folds, plain(trace))), "a -SELECT -SELECT --y -x -SELECT -SELECT -SELECT -SELECT");
  assert.deepEqual(findFolds(trace, 7).members, []);
});

test("what is collapsed hides what is below, and is opened for what is looked for", () => {
  const trace = traceOf(SHOP);
  const folds = findFolds(trace);
  const at = (more: Partial<Shown>): string => shown(trace, linesOf(trace, folds, plain(trace, more)));
  assert.equal(at({ collapsed: collapsedBelow(trace, 1) }), "a");
  assert.equal(at({ collapsed: collapsedBelow(trace, 2) }), "a -b -e");
  assert.equal(at({}), "a -b --c --d -e");
  const open = reveal(trace, folds, plain(trace, { collapsed: collapsedBelow(trace, 1) }), rowOfId(trace, idHex("d")));
  assert.equal(shown(trace, linesOf(trace, folds, open)), "a -b --c --d -e");
  const closed = linesOf(trace, folds, plain(trace, { collapsed: collapsedBelow(trace, 1) }));
  assert.equal(closed.lineOf(3), -1);
});

test("by service only calls between services stay open", () => {
  const trace = traceOf([
    { id: "a", from: 0, to: 100, service: "web" },
    { id: "b", parent: "a", from: 1, to: 9, service: "web" },
    { id: "c", parent: "b", from: 2, to: 8, service: "web" },
    { id: "d", parent: "a", from: 10, to: 50, service: "cart" },
    { id: "e", parent: "d", from: 11, to: 20, service: "cart" },
  ]);
  const lines = linesOf(trace, findFolds(trace), plain(trace, { collapsed: collapsedByService(trace) }));
  assert.equal(shown(trace, lines), "a -b -d");
});

test("a filter keeps the ancestors of what it finds", () => {
  const trace = traceOf(LOOP);
  const keep = withAncestors(trace, findText(trace, "Y"));
  const folds = findFolds(trace);
  assert.equal(shown(trace, linesOf(trace, folds, plain(trace, { keep }))), "a -SELECT --y");
  assert.equal(shown(trace, linesOf(trace, folds, plain(trace, { keep, folding: true }))), "a -SELECT*");
  const none = linesOf(trace, folds, plain(trace, { keep: new Uint8Array(trace.rows), folding: true }));
  assert.equal(none.count, 0);
});

test("text is found in names, services and ids, whatever its case", () => {
  const trace = traceOf(SHOP);
  const named = (text: string): string => namesOf(trace, [...findText(trace, text).entries()].flatMap(([row, hit]) => (hit ? [row] : [])));
  assert.equal(named("CART"), "b c");
  assert.equal(named(idHex("d")), "d");
  assert.equal(named("nothing"), "");
  const matches = new Uint8Array(trace.rows);
  mark(trace, Uint8Array.from([...idBytes("e"), ...idBytes("none"), ...idBytes("a")]), matches);
  assert.equal(counted(matches).count, 2);
  assert.deepEqual([...longerThan(trace, 0.4)], [1, 1, 0, 0, 0]);
  assert.deepEqual([...both(matches, longerThan(trace, 0.4))!], [1, 0, 0, 0, 0]);
  assert.equal(both(undefined, undefined), undefined);
});

test("flames are as wide as the time below them", () => {
  const trace = traceOf(LOOP);
  const root = flameGraph(trace);
  const [a] = root.children;
  assert.equal(root.value, [...trace.self].reduce((sum, self) => sum + self, 0));
  assert.deepEqual(
    a!.children.map((box) => [trace.names[box.name], box.count, box.value, box.self]),
    [
      ["SELECT", 6, 30, 28],
      ["x", 1, 2, 2],
    ],
  );
  const placed = placeFlames(a!.children[0]!, 0.01);
  assert.deepEqual(
    placed.map(({ box, x, width, level }) => [box.name < 0 ? "" : trace.names[box.name], x, Number(width.toFixed(4)), level]),
    [
      ["a", 0, 1, 1],
      ["", 0, 1, 0],
      ["SELECT", 0, 1, 2],
      ["y", 0, 0.0667, 3],
    ],
  );
  assert.equal(placeFlames(a!, 0.5).length, 2);
});

test("a deep chain of spans does not recurse", () => {
  const specs: Spec[] = Array.from({ length: 2000 }, (_, n) => ({
    id: n.toString(36),
    from: n,
    to: 400_000 - n,
    ...(n ? { parent: (n - 1).toString(36) } : {}),
    name: "n",
  }));
  const trace = traceOf(specs);
  assert.equal(trace.depth[1999], 1999);
  assert.equal(criticalPath(trace, 0).segments.length, 3999);
  assert.equal(linesOf(trace, findFolds(trace), plain(trace)).count, 2000);
});

test("packed columns are read as the API writes them", () => {
  const header = JSON.stringify({
    version: 1,
    spans: 1,
    traceId: "ab",
    names: ["é"],
    services: ["s"],
    startTimeUnixNano: "1795259580000000001",
    durationNano: "5",
    status: "PARTIAL",
    message: "partition 3",
    columns: [
      { name: "spanId", type: "uint8", offset: 0, length: 8 },
      { name: "start", type: "float64", offset: 8, length: 1 },
    ],
  });
  const text = new TextEncoder().encode(header);
  const padded = Math.ceil((8 + text.length) / 8) * 8 - 8;
  const bytes = new Uint8Array(8 + padded + 16).fill(32, 0, 8 + padded);
  bytes.set(new TextEncoder().encode("STC1"));
  new DataView(bytes.buffer).setUint32(4, padded, true);
  bytes.set(text, 8);
  bytes[8 + padded] = 7;
  new DataView(bytes.buffer).setFloat64(8 + padded + 8, 1.5, true);
  const outline = readOutline(bytes.buffer);
  assert.deepEqual([outline.startNs, outline.durationNs, outline.partial], [1795259580000000001n, 5, "partition 3"]);
  assert.deepEqual([outline.names, outline.start[0], outline.spanId[0]], [["é"], 1.5, 7]);
  assert.equal(outline.eventTime.length, 0);
  assert.throws(() => unpack(new TextEncoder().encode("<html>").buffer as ArrayBuffer), /Reload/);
});

test("lines of any trace hold each row once, and nothing hidden", () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const trace = randomTrace(200, seed);
    const folds = findFolds(trace, 3);
    const all = linesOf(trace, folds, plain(trace));
    assert.deepEqual([...all.row], [...trace.order], `seed ${seed}`);
    const unfolded = new Set(folds.members.keys());
    const open = linesOf(trace, folds, plain(trace, { folding: true, unfolded }));
    const own = [...open.row].filter((_, line) => open.group[line]! < 0);
    assert.deepEqual(own.sort((a, b) => a - b), [...trace.order].sort((a, b) => a - b), `seed ${seed}`);
  }
});
