"""A receiver of remote write that keeps all samples."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from math import isnan

from tests.helpers.generator.generated import decoded
from tests.helpers.receiving.snappy import decompressed


class RemoteWriteReceiver:
    """Keeps all samples; adds up increases as Prometheus does: what is less than before has begun anew."""

    def __init__(self) -> None:
        self.samples: dict[frozenset[tuple[str, str]], dict[int, float]] = {}
        self.away = False
        self.refused = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.away:
                    outer.refused += 1
                else:
                    outer.take(body)
                self.send_response(503 if outer.away else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v1/write"

    def take(self, body: bytes) -> None:
        for labels, samples in decoded([decompressed(body)]).items():
            self.samples.setdefault(labels, {}).update(samples)

    def ended(self, name: str) -> bool:
        """All series of the metric have a stale marker at their end."""
        found = [samples for labels, samples in list(self.samples.items()) if ("__name__", name) in labels]
        return all(isnan(samples[max(samples)]) for samples in found)

    def increase(self, name: str, *, resets: bool = True) -> float:
        """resets: whether counters may have begun anew."""
        total = 0.0
        for labels, samples in list(self.samples.items()):
            if ("__name__", name) in labels:
                values = [value for _, value in sorted(samples.items()) if not isnan(value)]
                assert values[0] == 0
                assert resets or values == sorted(values)
                total += sum(b - a if b >= a else b for a, b in pairwise(values))
        return total


@contextmanager
def listening() -> Iterator[RemoteWriteReceiver]:
    """One that listens inside."""
    made = RemoteWriteReceiver()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()
