// Two spans of Zipkin's client. Usage: node zipkin.js v2|v1 URL SERVICE. Prints the trace id.
"use strict";
const { Annotation, BatchRecorder, ExplicitContext, Tracer, jsonEncoder } = require("zipkin");
const { HttpLogger } = require("zipkin-transport-http");

function main(version, endpoint, service) {
  const encoder = version === "v1" ? jsonEncoder.JSON_V1 : jsonEncoder.JSON_V2;
  const logger = new HttpLogger({ endpoint, jsonEncoder: encoder, httpInterval: 100 });
  const recorder = new BatchRecorder({ logger });
  const tracer = new Tracer({ ctxImpl: new ExplicitContext(), recorder, localServiceName: service, traceId128Bit: true });
  const root = tracer.createRootId();
  tracer.letId(root, () => {
    tracer.recordServiceName(service);
    tracer.recordRpc("get /");
    tracer.recordAnnotation(new Annotation.ServerRecv());
    tracer.recordBinary("s", "Straße");
    tracer.recordBinary("error", "broken");
    tracer.recordMessage("happened");
    tracer.letId(tracer.createChildId(), () => {
      tracer.recordServiceName(service);
      tracer.recordRpc("child");
      tracer.recordAnnotation(new Annotation.ClientSend());
      tracer.recordAnnotation(new Annotation.ServerAddr({ serviceName: "stock" }));
      tracer.recordAnnotation(new Annotation.ClientRecv());
    });
    tracer.recordAnnotation(new Annotation.ServerSend());
  });
  // Its own timer does not keep the process running.
  setTimeout(() => process.exit(1), 20_000);
  logger.on("success", () => {
    console.log(root.traceId);
    process.exit(0);
  });
  logger.on("error", (error) => {
    console.error(error);
    process.exit(1);
  });
}

main(...process.argv.slice(2));
