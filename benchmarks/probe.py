"""Freshness: how long after its acknowledgement a trace can be found by its id, while the load runs."""

import http.client
import threading
import time
from random import Random
from typing import Final
from urllib.parse import urlsplit

import grpc

from app.demo.command import ending_now
from app.demo.shop import Shop
from app.demo.trace import export_request
from benchmarks.load import EXPORT

EVERY_S: Final = 0.25
POLL_S: Final = 0.01
GIVE_UP_S: Final = 10.0
SEED: Final = 7


class Probe(threading.Thread):
    """Sends a small trace every EVERY_S and asks for it until it is there.

    It costs the server a little: four requests and, at 50 ms, some twenty questions a second.
    """

    def __init__(self, otlp_address: str, http_url: str, tenant: str | None = None) -> None:
        super().__init__(name="probe", daemon=True)
        self.fresh_s: list[float] = []  # of the probes that were found
        self.lost = 0  # not found within GIVE_UP_S
        self.refused = 0  # not acknowledged, or the question failed
        self.spans = 0  # acknowledged
        self._otlp_address = otlp_address
        self._http_address = urlsplit(http_url).netloc
        self._tenant = tenant
        self._finish = threading.Event()

    def run(self) -> None:
        shop = Shop(Random(SEED))
        headers = [("x-scope-orgid", self._tenant)] if self._tenant else []
        with grpc.insecure_channel(self._otlp_address) as channel:
            export = channel.unary_unary(EXPORT)
            while not self._finish.wait(EVERY_S):
                placed = ending_now(shop, time.time_ns())
                request = export_request(placed).SerializeToString()
                try:
                    export(request, timeout=GIVE_UP_S, metadata=headers)
                except grpc.RpcError:
                    self.refused += 1
                    continue
                self.spans += len(placed)
                self._find(placed[0][1].trace_id.hex())

    def finish(self) -> None:
        """Stop after the probe that is under way."""
        self._finish.set()
        self.join()

    def _find(self, trace_id: str) -> None:
        acknowledged_s = time.perf_counter()
        connection = http.client.HTTPConnection(self._http_address, timeout=GIVE_UP_S)
        headers = {"X-Scope-OrgID": self._tenant} if self._tenant else {}
        try:
            while (waited_s := time.perf_counter() - acknowledged_s) < GIVE_UP_S:
                connection.request("GET", f"/api/traces/{trace_id}", headers=headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status == http.HTTPStatus.OK:
                    self.fresh_s.append(time.perf_counter() - acknowledged_s)
                    return
                if answer.status != http.HTTPStatus.NOT_FOUND:
                    self.refused += 1
                    return
                time.sleep(POLL_S)
            self.lost += waited_s >= GIVE_UP_S
        except (OSError, http.client.HTTPException):
            self.refused += 1
        finally:
            connection.close()
