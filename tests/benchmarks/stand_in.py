"""A program that behaves like `stretto run` as far as the benchmark can see: run by test_bench_whole.py.

It receives OTLP/gRPC, answers /ready, /metrics and /api/traces/{id}, has a child that looks like Kafka and one that
looks like a worker, and writes a Kafka log and a Parquet file of 100 and 40 bytes a span. Argument `stubborn`: it does
not stop on SIGTERM. `dies`: it ends at once. `quiet`: it never becomes ready.
"""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACES = set()
SPANS = 0
LOCK = threading.Lock()
DATA = Path(os.environ["STRETTO_DATA_DIR"])
MODE = sys.argv[1] if len(sys.argv) > 1 else ""


def export(request, _context):
    global SPANS
    message = ExportTraceServiceRequest.FromString(request)
    with LOCK:
        for group in message.resource_spans:
            for scope in group.scope_spans:
                SPANS += len(scope.spans)
                TRACES.update(span.trace_id.hex() for span in scope.spans)
        (DATA / "kafka" / "spans-0" / "00000000000000000000.log").write_bytes(bytes(100 * SPANS))
        (DATA / "blocks" / "b.parquet").write_bytes(bytes(40 * SPANS))
    return b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/metrics":
            names = ("stretto_spans_received", "stretto_live_store_spans_appended", "stretto_block_spans_flushed")
            self.answer(200, "".join(f'{name}_total{{tenant="a"}} {SPANS}\n' for name in names))
        elif self.path == "/ready":
            self.answer(*((503, "waiting for Godot\n") if MODE == "quiet" else (200, "ready\n")))
        else:
            self.answer(200 if self.path.rpartition("/")[2] in TRACES else 404, "{}")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def main():
    print("the stand-in says hello", flush=True)
    if MODE == "dies":
        return 3
    for folder in ("kafka/spans-0", "blocks"):
        (DATA / folder).mkdir(parents=True)
    children = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", name])
        for name in ("kafka.Kafka", "worker")
    ]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if MODE == "stubborn" else stop.set())
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server = grpc.server(ThreadPoolExecutor(4))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(os.environ["STRETTO_DISTRIBUTOR__RECEIVERS__OTLP__PROTOCOLS__GRPC__ENDPOINT"])
    server.start()
    http = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    stop.wait()
    for child in children:
        child.terminate()
        child.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
