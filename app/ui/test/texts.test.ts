import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, count, dateTime, digits, duration, percent } from "../src/lib/format.ts";
import { valueText } from "../src/lib/value.ts";
import { momentOf, stepFor } from "../src/state/range.ts";
import { zone } from "../src/state/timezone.ts";
import { type Addresses, SNIPPETS, addresses } from "../src/views/start/snippets.ts";
import { parseMetrics, parts, total } from "../src/views/status/prometheus.ts";

test("durations", () => {
  const cases: [number, string][] = [
    [0, "0 ns"], [999, "999 ns"], [1_500, "1.5 µs"], [12_345_678, "12.3 ms"], [1e9, "1 s"], [90e9, "1.5 min"], [7200e9, "2 h"], [-2e6, "-2 ms"],
  ];
  for (const [ns, text] of cases) assert.equal(duration(ns), text);
});

test("numbers", () => {
  assert.deepEqual([digits(1234.5), digits(0.012345), digits(0)], ["1235", "0.0123", "0"]);
  assert.deepEqual([count(1234), count(2_500_000), bytes(1500), bytes(12)], ["1.23k", "2.5M", "1.5 kB", "12 B"]);
  assert.deepEqual([percent(0), percent(0.0001), percent(0.123), percent(1)], ["0%", "<0.1%", "12.3%", "100%"]);
});

test("times", () => {
  zone.value = "utc";
  assert.equal(dateTime(1_700_000_000_123), "2023-11-14 22:13:20.123");
  assert.equal(ago(0, 61_000), "1 min ago");
  assert.equal(ago(1000, 1500), "just now");
});

test("moments of ranges", () => {
  assert.equal(momentOf("now", 1000), 1000);
  assert.equal(momentOf("now-1h", 3600e3), 0);
  assert.equal(momentOf("1700000000000", 0), 1_700_000_000_000);
  assert.equal(momentOf("yesterday", 0), undefined);
  assert.equal(stepFor({ fromMs: 0, toMs: 3600e3 }, 120), 30);
});

test("values", () => {
  assert.equal(valueText({ arrayValue: { values: [{ intValue: "1" }, { stringValue: "a" }] } }), "[1, a]");
  assert.equal(valueText({ kvlistValue: { values: [{ key: "a", value: { boolValue: true } }] } }), "{a: true}");
  assert.equal(valueText({}), "");
});

test("metrics of the process", () => {
  const metrics = parseMetrics(
    '# HELP a_total What it counts.\n# TYPE a_total counter\na_total{reason="x \\"y\\""} 2.0\na_total{reason="z"} 0.0\nb +Inf\n# EOF\n',
  );
  assert.equal(total(metrics, "a_total"), 2);
  assert.equal(parts(metrics, "a_total"), 'reason=x "y": 2');
  assert.equal(total(metrics, "b"), Infinity);
  assert.equal(total(metrics, "none"), undefined);
  assert.equal(metrics.help.get("a_total"), "What it counts.");
});

test("snippets have this server's addresses, and what it wants to know", () => {
  const config = {
    version: "", apiVersion: "", pythonVersion: "", target: "all", receivesHere: true, multitenancy: true, tokens: true,
    serviceGraph: false, demo: { allowed: false, running: false },
    receivers: [
      { name: "otlp_grpc", label: "", scheme: "", host: "", port: 14317, tls: false, setting: "" },
      { name: "otlp_http", label: "", scheme: "", host: "10.0.0.7", port: 14318, tls: true, setting: "" },
    ],
  };
  const at: Addresses = addresses(config, "stretto.example", "acme");
  assert.deepEqual([at.grpc, at.http], ["stretto.example:14317", "10.0.0.7:14318"]);
  assert.equal(addresses({ ...config, receivers: [] }, "::1", "").grpc, "[::1]:4317");
  for (const snippet of SNIPPETS) {
    const code = snippet.code(at);
    assert.match(code, /stretto\.example:14317|10\.0\.0\.7:14318/, snippet.name);
    assert.match(code, /X-Scope-OrgID.*acme/s, snippet.name);
    assert.match(code, /YOUR_TOKEN/, snippet.name);
  }
});
