"""Asks all the time, whatever happens to the server: an answer is exact, or it is a refusal that says to come back."""

import http.client
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from random import Random
from typing import Final

from benchmarks.soak import count
from benchmarks.soak.count import Found
from benchmarks.soak.ledger import Ledger
from tests.harness.cluster import BenchError

PAUSE_S: Final = 0.2
TIMEOUT_S: Final = 10.0
LATE_S: Final = 5.0  # what was acknowledged is searchable long before


class Asker(threading.Thread):
    """Counts passes that were sent whole, by search, and traces by id."""

    def __init__(self, ledger: Ledger, http_url: str, seed: int) -> None:
        super().__init__(name="soak-ask", daemon=True)
        self.found: list[Found] = []
        self.late = 0
        self.refused: Counter[str] = Counter()
        self.wrong_refusals: Counter[str] = Counter()  # no 503 or 429, or without Retry-After
        self.broken: BaseException | None = None
        self._ledger, self._url, self._rng = ledger, http_url, Random(seed)
        self._finish = threading.Event()

    def run(self) -> None:
        try:
            while not self._finish.wait(PAUSE_S):
                if self._ledger.passes > 1:
                    self._ask(self._rng.randrange(self._ledger.passes - 1))
        except BaseException as error:
            self.broken = error
            raise

    def finish(self) -> None:
        """Raises BenchError where the thread had failed."""
        self._finish.set()
        self.join(2 * TIMEOUT_S + LATE_S)
        if self.broken or self.is_alive():
            raise BenchError(f"asking failed: {self.broken or 'no answer'}")

    def _ask(self, number: int) -> None:
        found = self._answer(lambda: count.count_pass(self._url, self._ledger, number, once_within_s=TIMEOUT_S))
        if found is not None and found.missing:
            time.sleep(LATE_S)
            self.late += 1
            found = self._answer(lambda: count.count_pass(self._url, self._ledger, number, once_within_s=TIMEOUT_S))
        if found is not None:
            self.found.append(found)

    def _answer(self, ask: Callable[[], Found]) -> Found | None:
        try:
            return ask()
        except urllib.error.HTTPError as error:
            text = f"{error.code}: {error.read().decode(errors='replace').strip()[:80]}"
            told = error.headers.get("Retry-After") is not None
            fine = error.code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS) and told
            (self.refused if fine else self.wrong_refusals)[text] += 1
        except (OSError, http.client.HTTPException) as error:  # the process was killed, or stands still
            self.refused[type(error).__name__] += 1
        return None
