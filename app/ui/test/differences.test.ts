import assert from "node:assert/strict";
import { test } from "node:test";
import type { Series } from "../src/api/types.ts";
import { differencesBetween, differencesOf } from "../src/views/search/diff_data.ts";

const series = (type: string, key: string, text: string | undefined, value: number): Series => ({
  labels: [{ key: "__meta_type", value: { stringValue: type } }, { key, value: text === undefined ? {} : { stringValue: text } }],
  samples: [{ timestampMs: "1", value }],
});

const totals = (key: string, selection: number, baseline: number): Series[] => [
  series("selection_total", key, "nil", selection),
  series("baseline_total", key, "nil", baseline),
];

test("what only the selection has comes before what both have", () => {
  const { differences, selected, others } = differencesOf({
    series: [
      series("selection", "span.version", "2", 90),
      series("selection", "span.version", "1", 10),
      series("baseline", "span.version", "1", 1000),
      ...totals("span.version", 100, 1000),
      series("selection", "name", "a", 60),
      series("selection", "name", "b", 40),
      series("baseline", "name", "a", 500),
      series("baseline", "name", "b", 500),
      ...totals("name", 100, 1000),
    ],
  });
  assert.deepEqual([selected, others], [100, 1000]);
  assert.deepEqual(differences.map((one) => one.field), ["span.version", "name"]);
  const [first] = differences[0]!.values;
  assert.deepEqual(first, { text: "2", literal: '"2"', selection: 0.9, baseline: 0 });
  assert.ok(differences[0]!.score > 0.5);
  assert.ok(differences[1]!.score < 0.01);
});

test("many values of few spans differ by chance, and count for nothing", () => {
  const values = Array.from({ length: 50 }, (_, at) => series("selection", "span.id", `s${at}`, 1));
  const rest = Array.from({ length: 50 }, (_, at) => series("baseline", "span.id", `s${at + 49}`, 1));
  const { differences } = differencesOf({ series: [...values, ...rest, ...totals("span.id", 50, 50)] });
  const few = differencesOf({
    series: [series("selection", "span.x", "a", 50), series("baseline", "span.x", "b", 50), ...totals("span.x", 50, 50)],
  });
  assert.equal(differences[0]!.score, 0);
  assert.ok(few.differences[0]!.score > 0.9);
});

/** Numbers from 0 to 1, the same in each run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test("of thirty services none stands out because the slow spans happen to be of some of them", () => {
  const next = numbers(7);
  const counts = { selection: Array<number>(30).fill(0), baseline: Array<number>(30).fill(0) };
  for (let at = 0; at < 31; at += 1) counts.selection[Math.floor(next() * 30)]! += 1;
  for (let at = 0; at < 569; at += 1) counts.baseline[Math.floor(next() * 30)]! += 1;
  const listed = (side: "selection" | "baseline") =>
    counts[side].flatMap((count, at) => (count ? [series(side, "resource.service.name", `service-${at}`, count)] : []));
  const answer = [...listed("selection"), ...listed("baseline"), ...totals("resource.service.name", 31, 569)];
  const [found] = differencesOf({ series: answer }).differences;
  assert.ok(found!.score < 0.004, `${found!.score}`);
  // Where one of them has a third of the slow spans, it is the first.
  const slow = [...listed("selection"), series("selection", "resource.service.name", "slow", 15), series("baseline", "resource.service.name", "slow", 19)];
  const [telling] = differencesOf({ series: [...slow, ...listed("baseline"), ...totals("resource.service.name", 46, 588)] }).differences;
  assert.equal(telling!.values[0]!.text, "slow");
  assert.ok(telling!.score > 0.05);
});

test("spans without the attribute are a value of their own", () => {
  const { differences } = differencesOf({
    series: [series("selection", "span.x", "a", 1), ...totals("span.x", 1, 0), ...totals("name", 10, 90)],
  });
  const x = differences.find((one) => one.field === "span.x")!;
  assert.deepEqual(x.values.find((one) => one.literal === ""), { text: "", literal: "", selection: 0.9, baseline: 1 });
});

test("words of status and kind are not quoted", () => {
  const { differences } = differencesOf({ series: [series("selection", "status", "error", 1), ...totals("status", 1, 1)] });
  assert.equal(differences[0]!.values[0]!.literal, "error");
});

test("of two answers each is a side of its own, and only what they select counts", () => {
  const all = (text: string, value: number): Series[] => [series("selection", "span.version", text, value), series("selection_total", "span.version", "nil", value)];
  const first = { series: [...all("1", 10), series("baseline", "span.version", "9", 7)] };
  const second = { series: [series("selection", "span.version", "1", 1), series("selection", "span.version", "2", 3), series("selection_total", "span.version", "nil", 4)] };
  const { differences, selected, others } = differencesBetween(first, second);
  assert.deepEqual([selected, others], [10, 4]);
  const values = Object.fromEntries(differences[0]!.values.map((one) => [one.text, [one.selection, one.baseline]]));
  assert.deepEqual(values, { "1": [1, 0.25], "2": [0, 0.75] });
  // The side with the fewer spans says what is several: four of four are.
  const few = [series("selection", "span.version", "2", 4), series("selection_total", "span.version", "nil", 4)];
  assert.ok(differencesBetween({ series: all("1", 1000) }, { series: few }).differences[0]!.score > 0.5);
  assert.deepEqual(differencesBetween(first, {}).others, 0);
});

test("nothing selected", () => {
  assert.deepEqual(differencesOf({}), { differences: [], selected: 0, others: 0 });
});
