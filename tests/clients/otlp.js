// Two spans of OpenTelemetry's SDK over OTLP. Usage: node otlp.js grpc|proto|json URL SERVICE. Prints the trace id.
"use strict";
const { SpanKind, SpanStatusCode, context, trace } = require("@opentelemetry/api");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BasicTracerProvider, SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const PACKAGES = {
  grpc: "@opentelemetry/exporter-trace-otlp-grpc",
  proto: "@opentelemetry/exporter-trace-otlp-proto",
  json: "@opentelemetry/exporter-trace-otlp-http",
};

async function main(encoding, url, service) {
  const { OTLPTraceExporter } = require(PACKAGES[encoding]);
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ "service.name": service, "service.ports": [80, 443] }),
    spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter({ url }))],
  });
  const tracer = provider.getTracer("shop", "1.2");
  const root = tracer.startSpan("GET /", { kind: SpanKind.SERVER });
  root.setAttributes({ s: "Straße", i: 42, d: 0.5, b: true, l: ["a", "b"] });
  root.setStatus({ code: SpanStatusCode.ERROR, message: "broken" });
  root.addEvent("happened", { n: 1 });
  const child = tracer.startSpan(
    "child",
    { kind: SpanKind.CLIENT, links: [{ context: root.spanContext(), attributes: { why: "test" } }] },
    trace.setSpan(context.active(), root),
  );
  child.end();
  root.end();
  await provider.forceFlush();
  await provider.shutdown();
  console.log(root.spanContext().traceId);
}

main(...process.argv.slice(2));
