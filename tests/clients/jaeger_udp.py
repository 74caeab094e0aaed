"""Two spans of Jaeger's client for Python, over UDP. Usage: jaeger_udp.py HOST:PORT SERVICE. Prints the trace id."""

import sys
import time

from jaeger_client import Config


def main(address: str, service: str) -> None:
    host, _, port = address.rpartition(":")
    settings = {
        "sampler": {"type": "const", "param": 1},
        "local_agent": {"reporting_host": host, "reporting_port": int(port)},
        "generate_128bit_trace_id": True,
        "tags": {"zone": "a"},
    }
    tracer = Config(settings, service_name=service, validate=True).initialize_tracer()
    root = tracer.start_span("GET /")
    for key, value in {"span.kind": "server", "error": True, "s": "Straße", "i": 42, "d": 0.5, "b": True}.items():
        root.set_tag(key, value)
    root.log_kv({"event": "happened", "n": 1})
    child = tracer.start_span("child", child_of=root)
    child.set_tag("span.kind", "client")
    child.finish()
    root.finish()
    closing, end_s = tracer.close(), time.monotonic() + 10
    while not closing.done() and time.monotonic() < end_s:
        time.sleep(0.02)
    print(f"{root.trace_id:032x}")


main(*sys.argv[1:])
