"""Two spans of OpenTelemetry's SDK with its exporter for Jaeger.

Usage: jaeger_exporter.py http|udp URL|HOST:PORT SERVICE. Prints the trace id.
"""

import sys

import opentelemetry.sdk.environment_variables as names
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, format_trace_id, set_span_in_context

# The exporter's last version imports what the SDK has had until then; it is the same text in all.
for name in ("AGENT_HOST", "AGENT_PORT", "AGENT_SPLIT_OVERSIZED_BATCHES", "ENDPOINT", "PASSWORD", "TIMEOUT", "USER"):
    variable = f"OTEL_EXPORTER_JAEGER_{name}"
    vars(names).setdefault(variable, variable)

from opentelemetry.exporter.jaeger.thrift import JaegerExporter  # noqa: E402  (needs those)


def main(way: str, address: str, service: str) -> None:
    if way == "http":
        exporter = JaegerExporter(collector_endpoint=f"{address}?format=jaeger.thrift")
    else:
        host, _, port = address.rpartition(":")
        exporter = JaegerExporter(agent_host_name=host, agent_port=int(port))
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop", "1.2")
    root = tracer.start_span("GET /", kind=SpanKind.SERVER, attributes={"s": "Straße", "i": 42, "d": 0.5, "b": True})
    root.set_status(Status(StatusCode.ERROR, "broken"))
    root.add_event("happened", {"n": 1})
    link = Link(root.get_span_context())
    child = tracer.start_span("child", set_span_in_context(root), kind=SpanKind.CLIENT, links=[link])
    child.end()
    root.end()
    provider.shutdown()
    print(format_trace_id(root.get_span_context().trace_id))


main(*sys.argv[1:])
