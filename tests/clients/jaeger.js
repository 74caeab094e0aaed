// Two spans of Jaeger's client. Usage: node jaeger.js udp|http HOST:PORT|URL SERVICE. Prints the trace id.
"use strict";
const { initTracer } = require("jaeger-client");

function main(way, address, service) {
  const [host, port] = address.split(":");
  const reporter = way === "udp" ? { agentHost: host, agentPort: Number(port) } : { collectorEndpoint: address };
  const tracer = initTracer(
    { serviceName: service, sampler: { type: "const", param: 1 }, reporter: { flushIntervalMs: 100, ...reporter } },
    { tags: { zone: "a" }, logger: { info() {}, error: (text) => console.error(text) } },
  );
  const root = tracer.startSpan("GET /", { tags: { "span.kind": "server", error: true, s: "Straße", d: 0.5, b: true } });
  root.log({ event: "happened", n: 1 });
  const child = tracer.startSpan("child", { childOf: root, tags: { "span.kind": "client" } });
  child.finish();
  root.finish();
  tracer.close(() => console.log(root.context().traceIdStr));
}

main(...process.argv.slice(2));
