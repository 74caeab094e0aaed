import assert from "node:assert/strict";
import { test } from "node:test";
import { quoted } from "../src/lib/traceql_text.ts";
import { wanted } from "../src/traceql/complete.ts";
import { addCondition, addSpanOfTrace, isMetrics, isOfRoots, pipelineOf, spansOf } from "../src/traceql/edit.ts";
import { placeOf } from "../src/traceql/error.ts";
import { EMPTY_FORM, type Form, fromTraceql, toTraceql, unquoted } from "../src/traceql/form.ts";
import { lex } from "../src/traceql/lex.ts";
import { goldenQueries } from "./golden.ts";

const GOLDEN = goldenQueries();

test("tokens are the whole text but white space, in order", () => {
  assert.ok(GOLDEN.length > 300);
  for (const query of [...GOLDEN, '{ "open', "`", "/*", "𝕏 .", "{ .a.\"b c\".d = 1 }"]) {
    let at = 0;
    for (const token of lex(query)) {
      assert.match(query.slice(at, token.from), /^\s*$/);
      assert.equal(token.text, query.slice(token.from, token.to));
      assert.ok(token.to > token.from);
      at = token.to;
    }
    assert.match(query.slice(at), /^\s*$/);
  }
});

test("what a form reads it writes again, and reads the same", () => {
  const read = GOLDEN.filter((query) => fromTraceql(query));
  assert.ok(read.length > 100, `${read.length} golden queries fit the form`);
  for (const query of read) {
    const form = fromTraceql(query)!;
    assert.deepEqual(fromTraceql(toTraceql(form)), form, query);
  }
});

test("forms", () => {
  const cases: [Partial<Form>, string][] = [
    [{}, "{ }"],
    [{ spans: "roots" }, "{ nestedSetParent < 0 }"],
    [{ spans: "server", service: 'a "b"\\', operation: "GET /" }, '{ kind = server && resource.service.name = "a \\"b\\"\\\\" && name = "GET /" }'],
    [{ min: "1.5s", max: "2m", status: "error" }, "{ duration >= 1.5s && duration <= 2m && status = error }"],
    [{ tags: [{ field: "span.x", op: "!=", value: "-5" }] }, "{ span.x != -5 }"],
    [{ tags: [{ field: 'span."a b"', op: "=~", value: '"x.*"' }] }, '{ span."a b" =~ "x.*" }'],
  ];
  for (const [patch, query] of cases) {
    const form = { ...EMPTY_FORM, tags: [], ...patch };
    assert.equal(toTraceql(form), query);
    assert.deepEqual(fromTraceql(query), form);
  }
});

test("a form does not show what it would lose", () => {
  for (const query of [
    "{ a } || { b }",
    "{ span.a = 1 || span.b = 2 }",
    "{ span.a = 1 } | count() > 2",
    "{ !(span.a = 1) }",
    "{ span.a + 1 = 2 }",
    "{ span.a = span.b }",
    "{ span.a = 1 && }",
    '{ span.a = "open }',
    "{ 1 = span.a }",
    "{ true }",
  ]) {
    assert.equal(fromTraceql(query), undefined, query);
  }
});

test("the same field twice is kept", () => {
  const query = '{ name = "a" && name = "b" && duration >= 1s && duration >= 2s }';
  assert.deepEqual(fromTraceql(query)!.tags, [
    { field: "name", op: "=", value: '"b"' },
    { field: "duration", op: ">=", value: "2s" },
  ]);
});

test("strings survive quotes", () => {
  for (const text of ["", "plain", 'a "b"', "back\\slash", "line\nbreak\ttab\r", "\\n"]) {
    assert.equal(unquoted(quoted(text)), text);
  }
  assert.equal(unquoted('"\\xff"'), undefined);
  assert.equal(unquoted("`a\\n`"), "a\\n");
});

test("conditions are added where the spans are chosen", () => {
  const cases: [string, string][] = [
    ["", "{ x = 1 }"],
    ["{ }", "{ x = 1 }"],
    ["{ a = 1 }", "{ a = 1 && x = 1 }"],
    ["{ a = 1 || b = 2 }", "{ (a = 1 || b = 2) && x = 1 }"],
    ['{ a = "}" } | count() > 2', '{ a = "}" && x = 1 } | count() > 2'],
    ["{ a = 1 } >> { b = 1 }", "{ a = 1 } >> { b = 1 && x = 1 }"],
    ["{ a = 1 } || { b = 1 }", "({ a = 1 } || { b = 1 }) && { x = 1 }"],
    ["({ a = 1 } >> { b = 1 }) | select(name)", "(({ a = 1 } >> { b = 1 })) && { x = 1 } | select(name)"],
    ["{ a = 1 /* } */ }", "{ a = 1 /* } */ && x = 1 }"],
  ];
  for (const [query, expected] of cases) assert.equal(addCondition(query, "x = 1"), expected);
});

test("spans and what is made of them", () => {
  assert.equal(spansOf('{ a = "|" } | rate() by (x) | topk(1)'), '{ a = "|" }');
  assert.equal(pipelineOf('{ a = "|" } | rate() by (x) | topk(1)'), "| rate() by (x) | topk(1)");
  assert.equal(spansOf("({ a } | count() > 1) && { b }"), "({ a } | count() > 1) && { b }");
  assert.equal(spansOf(""), "{ }");
  // What follows is not swallowed by a comment.
  assert.equal(spansOf("{ a } // all | of them"), "{ a } // all | of them\n");
  assert.equal(spansOf("// none\n| rate()"), "// none\n{ }");
  assert.ok(isMetrics("{ } | quantile_over_time(duration, .5)"));
  assert.ok(!isMetrics('{ name = "| rate()" } | count() > 1'));
});

test("a condition of some span of the trace", () => {
  assert.equal(addSpanOfTrace("{ nestedSetParent < 0 } | count() > 1", "span.a = 1"), "{ nestedSetParent < 0 } && { span.a = 1 } | count() > 1");
  assert.equal(addSpanOfTrace("{ a } // all", "span.a = 1"), "{ a } // all\n && { span.a = 1 }");
  assert.ok(isOfRoots("{nestedSetParent<0 && a}"));
  assert.ok(!isOfRoots("{ nestedSetParent < 0 || a }") && !isOfRoots("{ a }"));
});

test("errors are placed in the query", () => {
  const error = '1:3: unknown field nmae\n  { nmae = "x" }\n    ^^^^\nDid you mean name?';
  assert.deepEqual(placeOf(error, '{ nmae = "x" }'), { from: 2, to: 6, message: "unknown field nmae. Did you mean name?" });
  assert.deepEqual(placeOf("2:1: unexpected x\n  x\n  ^", "{ }\nx"), { from: 4, to: 5, message: "unexpected x" });
  assert.equal(placeOf("1:3: bad\n  𝕏 y\n    ^", "𝕏 y")!.from, 3);
  assert.equal(placeOf("the query took longer", "{ }"), undefined);
});

test("what may come next", () => {
  const cases: [string, string | undefined][] = [
    ["{ ", "field"],
    ["{ resource.serv", "field"],
    ['{ name = "', "value"],
    ["{ status = ", "value"],
    ["{ a = 1 && b = ", "value"],
    ["{ a = 1 ", "join"],
    ["{ a ", "join"],
    ["{ } | ", "function"],
    ["{ } | ra", "function"],
    ["{ } | rate() by (", "field"],
    ["{ } ", "pipe"],
    ["// { ", undefined],
  ];
  for (const [text, what] of cases) assert.equal(wanted(text)?.what, what, text);
  const value = wanted("{ a = 1 && span.b = ");
  assert.ok(value?.what === "value");
  assert.deepEqual([value.field, value.context], ["span.b", "{ a = 1  }"]);
});
