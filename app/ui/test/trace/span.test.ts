import assert from "node:assert/strict";
import { test } from "node:test";
import { condition, withCondition } from "../../src/views/trace/details/condition.ts";
import { linksOf } from "../../src/views/trace/model/link_templates.ts";
import { otlpGroups } from "../../src/views/trace/model/otlp_json.ts";
import { cursorBefore, idHex, type TracePage } from "../../src/views/trace/model/span.ts";
import { niceStep, stepLabel, ticks } from "../../src/views/trace/waterfall/scale.ts";

const WHOLE = {
  span: {
    traceId: "AA8rqcyPagmKMKeuwsvq2w==",
    spanId: "94Yb87y5Eaw=",
    name: "GET /a b",
    startTimeUnixNano: "1795259583400883124",
    endTimeUnixNano: "1795259583474888000",
    attributes: [{ key: "host", value: { stringValue: "a&b#c" } }],
  },
  resource: {
    attributes: [
      { key: "host", value: { stringValue: "other" } },
      { key: "service.name", value: { stringValue: "shop" } },
    ],
  },
  scope: {},
  schemaUrl: "",
};

test("link templates are filled in, escaped, and left out where the span lacks something", () => {
  const link = (url: string) => linksOf([{ name: "n", kind: "logs", url }], WHOLE)[0]?.href;
  assert.equal(link("https://l/?q=${traceId}/${spanId}"), "https://l/?q=000f2ba9cc8f6a098a30a7aec2cbeadb/f7861bf3bcb911ac");
  assert.equal(link("https://l/?h=${tags.host}&s=${tags.service.name}"), "https://l/?h=a%26b%23c&s=shop");
  assert.equal(link("https://l/?f=${startMs}&t=${endMs}&n=${name}"), "https://l/?f=1795259583400&t=1795259583475&n=GET%20%2Fa%20b");
  assert.equal(link("https://l/${tags.none}"), undefined);
  assert.equal(link("https://l/${unknown}"), undefined);
  assert.equal(link("javascript:alert(1)//${traceId}"), undefined);
  assert.equal(link("${tags.host}"), undefined);
});

test("conditions are TraceQL, whatever the value", () => {
  assert.equal(condition("span", "http.route", { stringValue: 'a"b\\' }, "="), 'span.http.route = "a\\"b\\\\"');
  assert.equal(condition("resource", "a b", { intValue: "-5" }, "!="), 'resource."a b" != -5');
  assert.equal(condition("event", "exception.type", { boolValue: true }, "="), "event.exception.type = true");
  assert.equal(condition("span", "x", { doubleValue: 3 }, "="), "span.x = 3.0");
  assert.equal(condition("span", "x", { doubleValue: "NaN" }, "="), undefined);
  assert.equal(condition("span", "x", { arrayValue: {} }, "="), undefined);
  assert.equal(withCondition("{ status = error }", "span.x = 1"), "{ status = error && span.x = 1 }");
  assert.equal(withCondition("{ } | count() > 1", "span.x = 1"), "{ span.x = 1 }");
});

test("the cursor before a span", () => {
  assert.equal(cursorBefore(5n, "0000000000000010"), "5-000000000000000f");
  assert.equal(cursorBefore(5n, "0000000000000000"), "4-ffffffffffffffff");
  assert.equal(idHex(""), "");
});

test("OTLP JSON has ids in hex and enums as numbers", () => {
  const page: TracePage = {
    trace: {
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: [
                {
                  ...WHOLE.span,
                  kind: "SPAN_KIND_CLIENT",
                  status: { code: "STATUS_CODE_ERROR", message: "m" },
                  links: [{ traceId: WHOLE.span.traceId, spanId: WHOLE.span.spanId }],
                },
              ],
            },
          ],
        },
      ],
    },
  };
  const [group] = otlpGroups(page) as [{ scopeSpans: { spans: Record<string, unknown>[] }[] }];
  const [span] = group.scopeSpans[0]!.spans;
  assert.equal(span!["traceId"], "000f2ba9cc8f6a098a30a7aec2cbeadb");
  assert.equal(span!["kind"], 3);
  assert.deepEqual(span!["status"], { code: 2, message: "m" });
  assert.deepEqual(span!["links"], [{ traceId: "000f2ba9cc8f6a098a30a7aec2cbeadb", spanId: "f7861bf3bcb911ac" }]);
  assert.ok(!("parentSpanId" in span!));
});

test("ticks are round, and as many as fit", () => {
  assert.deepEqual([0.3, 1, 1.5, 3, 7, 90].map((one) => Number(niceStep(one).toFixed(6))), [0.5, 1, 2, 5, 10, 100]);
  assert.deepEqual(ticks({ from: 0, to: 1e9 }, 560).map((one) => one.label), ["0 ms", "200 ms", "400 ms", "600 ms", "800 ms", "1.0 s"]);
  assert.deepEqual(ticks({ from: 1.25e9, to: 1.26e9 }, 240).map((one) => one.label), ["1.250 s", "1.255 s", "1.260 s"]);
  assert.equal(stepLabel(0, 5), "0 ns");
});
