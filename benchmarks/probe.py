"""Freshness: how long after its acknowledgement a trace can be found by its id, while the load runs."""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import grpc

from app.cli.demo.command import ending_now
from app.cli.demo.shop import Shop
from app.cli.demo.trace import Placed, export_request
from benchmarks.load import EXPORT

EVERY_S: Final = 0.25
POLL_S: Final = 0.01
GIVE_UP_S: Final = 10.0
SEED: Final = 7
AT_ONCE: Final = 64  # more than can be on their way before they are given up
FOUND, LOST, REFUSED = "found", "lost", "refused"


class Probe(threading.Thread):
    """Sends a small trace every EVERY_S, each on its own, and asks for it until it is there.

    It costs the server something: four requests and, as long as a trace is not there, up to a hundred questions a
    second. What spans cost is better measured without it.
    """

    def __init__(self, otlp_address: str, http_url: str, tenant: str | None = None) -> None:
        super().__init__(name="probe", daemon=True)
        self.fresh_s: list[float] = []  # of the probes that were found
        self.question_s: list[float] = []  # how long each question took, whatever the answer
        self.lost = 0  # not found within GIVE_UP_S
        self.refused = 0  # not acknowledged, or the question failed
        self.spans = 0  # acknowledged
        self._otlp_address = otlp_address
        self._http_address = urlsplit(http_url).netloc
        self._tenant = tenant
        self._lock = threading.Lock()
        self._finish = threading.Event()

    def run(self) -> None:
        shop = Shop(Random(SEED))
        with (
            grpc.insecure_channel(self._otlp_address) as channel,
            ThreadPoolExecutor(AT_ONCE, "probe") as pool,
        ):
            export = channel.unary_unary(EXPORT)
            due_s = time.monotonic()
            # When due, whatever became of those before: a stall of seconds is to be seen by each that falls into it.
            while not self._finish.wait(max(0.0, (due_s := due_s + EVERY_S) - time.monotonic())):
                pool.submit(self._probe, export, ending_now(shop, time.time_ns()))

    def _probe(self, export: Any, placed: list[Placed]) -> None:
        headers = [("x-scope-orgid", self._tenant)] if self._tenant else []
        try:
            export(export_request(placed).SerializeToString(), timeout=GIVE_UP_S, metadata=headers)
        except grpc.RpcError:
            with self._lock:
                self.refused += 1
            return
        acknowledged_s = time.perf_counter()
        outcome = self._find(placed[0][1].trace_id.hex(), acknowledged_s)
        with self._lock:
            self.spans += len(placed)
            if outcome is FOUND:
                self.fresh_s.append(time.perf_counter() - acknowledged_s)
            else:
                self.lost += outcome is LOST
                self.refused += outcome is REFUSED

    def finish(self) -> None:
        """Stop after the probes that are under way."""
        self._finish.set()
        self.join()

    def _find(self, trace_id: str, acknowledged_s: float) -> str:
        """Ask until it is there: FOUND, LOST or REFUSED."""
        connection = http.client.HTTPConnection(self._http_address, timeout=GIVE_UP_S)
        headers = {"X-Scope-OrgID": self._tenant} if self._tenant else {}
        try:
            while time.perf_counter() - acknowledged_s < GIVE_UP_S:
                asked_s = time.perf_counter()
                connection.request("GET", f"/api/traces/{trace_id}", headers=headers)
                answer = connection.getresponse()
                answer.read()
                with self._lock:
                    self.question_s.append(time.perf_counter() - asked_s)
                if answer.status == http.HTTPStatus.OK:
                    return FOUND
                if answer.status != http.HTTPStatus.NOT_FOUND:
                    return REFUSED
                time.sleep(POLL_S)
        except (OSError, http.client.HTTPException):
            return REFUSED
        finally:
            connection.close()
        return LOST
