import assert from "node:assert/strict";
import { test } from "node:test";
import type { MetricsAnswer, Series } from "../src/api/types.ts";
import { timeTicks } from "../src/charts/canvas.ts";
import { durationLiteral, gridOf, holds, quantileBound, rowTotals, smallPart } from "../src/charts/grid.ts";
import { conditionsFor, linesOf, unitOf, unitText } from "../src/charts/series.ts";

const bucket = (bound: number, samples: [number, number][]): Series => ({
  labels: [{ key: "__bucket", value: { doubleValue: bound } }],
  samples: samples.map(([ms, value]) => ({ timestampMs: String(ms), ...(value ? { value } : {}) })),
});

test("a grid has a row for each power of two, also for those between", () => {
  const answer: MetricsAnswer = {
    series: [bucket(2 ** 20 / 1e9, [[2000, 3], [3000, 0]]), bucket(2 ** 23 / 1e9, [[3000, 5]])],
  };
  const grid = gridOf(answer, 1000, 3000, 1000);
  assert.deepEqual(grid.edgesMs, [1000, 2000, 3000]);
  assert.equal(grid.counts.length, 4);
  assert.deepEqual(grid.counts, [[3, 0], [0, 0], [0, 0], [0, 5]]);
  assert.deepEqual([grid.max, grid.total], [5, 8]);
  assert.deepEqual(rowTotals(grid), [3, 0, 0, 5]);
  assert.equal(grid.boundsS[1], 2 ** 20 / 1e9);
  assert.equal(quantileBound(grid, 0.3), 2 ** 20 / 1e9);
  assert.equal(quantileBound(grid, 0.95), 2 ** 23 / 1e9);
});

test("a grid without spans", () => {
  const grid = gridOf({ series: [] }, 0, 1000, 500);
  assert.equal(grid.total, 0);
  assert.equal(quantileBound(grid, 0.5), undefined);
});

test("spans that are a small part of the range", () => {
  const answer: MetricsAnswer = { series: [bucket(2 ** 20 / 1e9, [[8000, 3], [9000, 1]])] };
  const grid = gridOf(answer, 0, 20_000, 1000);
  assert.deepEqual(smallPart(grid, 0.3), { fromMs: 7000, toMs: 9000 });
  assert.equal(smallPart(grid, 0.05), undefined);
  assert.equal(smallPart(gridOf({}, 0, 1000, 100), 0.3), undefined);
});

test("marks", () => {
  assert.ok(holds({ fromMs: 1, toMs: 2, minS: 1 }, 1.5, 9));
  assert.ok(!holds({ fromMs: 1, toMs: 2, minS: 1 }, 1.5, 0.5));
  assert.deepEqual([2 ** 27 / 1e9, 1.0737, 0.000004, 5e-9].map(durationLiteral), ["134.2ms", "1.074s", "4us", "5ns"]);
});

test("lines share their times; gaps are gaps", () => {
  const answer: MetricsAnswer = {
    series: [
      { labels: [{ key: "name", value: { stringValue: "a" } }, { key: "p", value: { doubleValue: 0.95 } }], samples: [{ timestampMs: "1", value: 2 }, { timestampMs: "2" }] },
      { labels: [{ key: "name", value: { stringValue: "b" } }, { key: "p", value: { doubleValue: 0.95 } }], samples: [{ timestampMs: "2", value: "NaN" }] },
    ],
  };
  const { timesMs, lines } = linesOf(answer, "seconds");
  assert.deepEqual(timesMs, [1, 2]);
  assert.deepEqual(lines.map((line) => [line.label, line.values]), [["a", [2, null]], ["b", [null, null]]]);
  assert.deepEqual(linesOf(answer, "number").lines[0]!.values, [2, 0]);
});

test("units follow the query", () => {
  assert.equal(unitOf("{ } | rate()"), "rate");
  assert.equal(unitOf("({ } | rate()) / ({ } | rate())"), "number");
  assert.equal(unitOf("{ } | quantile_over_time(duration, .9)"), "seconds");
  assert.equal(unitOf("{ } | quantile_over_time(span.rows, .9)"), "number");
  assert.equal(unitOf("{ duration > 1s } | count_over_time()"), "number");
  assert.deepEqual([unitText(0.5, "seconds"), unitText(1500, "rate"), unitText(null, "number")], ["500 ms", "1.5k/s", "–"]);
});

test("a series becomes conditions", () => {
  const labels = [
    { key: "name", value: { stringValue: 'a"b' } },
    { key: "status", value: { stringValue: "error" } },
    { key: "span.n", value: { intValue: "5" } },
    { key: "span.m", value: { stringValue: "nil" } },
    { key: "p", value: { doubleValue: 0.9 } },
  ];
  assert.equal(conditionsFor(labels), 'name = "a\\"b" && status = error && span.n = 5 && span.m = nil');
});

test("ticks are round, in the zone", () => {
  const hour = 3600e3;
  assert.deepEqual(timeTicks(0, 6 * hour, 6, 0), [0, 1, 2, 3, 4, 5, 6].map((one) => one * hour));
  assert.deepEqual(timeTicks(0, 48 * hour, 3, hour), [23 * hour, 47 * hour]);
});
