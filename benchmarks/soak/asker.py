"""Asks all the time, whatever happens to the server: an answer is exact, or it is a refusal that says to come back."""

import http.client
import threading
import time
import urllib.error
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from itertools import cycle
from random import Random
from typing import Final

import numpy as np

from benchmarks.soak import count, questions
from benchmarks.soak.count import Found
from benchmarks.soak.ledger import ACKNOWLEDGED, Ledger
from tests.harness.cluster import BenchError

PAUSE_S: Final = 0.2
TIMEOUT_S: Final = 30.0  # as a browser: a machine that is busy is no fault
LATE_S: Final = 5.0  # what was acknowledged is searchable long before


class Asker(threading.Thread):
    """Counts passes that were sent whole, by search, and everything by a metrics query; compares traces by id; asks
    questions of the other kinds, which must have some answer.
    """

    def __init__(self, ledger: Ledger, http_url: Callable[[], str], seed: int, *, orderly: bool = False) -> None:
        """http_url: where to ask next. orderly: processes end in order, so that a connection that breaks is wrong"""
        super().__init__(name="soak-ask", daemon=True)
        self.found: list[Found] = []
        self.late = 0
        self.refused: Counter[str] = Counter()
        self.wrong_refusals: Counter[str] = Counter()  # no 503 or 429, or without Retry-After
        self.broken: BaseException | None = None
        self._ledger, self._url, self._rng, self._orderly = ledger, http_url, Random(seed), orderly
        self._acknowledged: deque[tuple[float, int]] = deque()  # time.monotonic(), spans
        self._kinds = cycle([self._pass, self._all, self._trace, self._other])
        self._others = cycle(questions.PATHS)
        self._finish = threading.Event()

    def run(self) -> None:
        try:
            while not self._finish.wait(PAUSE_S):
                self._acknowledged.append((time.monotonic(), self._ledger.spans(ACKNOWLEDGED)))
                if self._ledger.passes > 1:
                    self._ask(next(self._kinds)(self._rng.randrange(self._ledger.passes - 1)))
        except BaseException as error:
            self.broken = error
            raise

    def finish(self) -> None:
        """Raises BenchError where the thread had failed."""
        self._finish.set()
        self.join(2 * TIMEOUT_S + LATE_S)
        if self.broken or self.is_alive():
            raise BenchError(f"asking failed: {self.broken or 'no answer'}")

    # ---- kinds of questions, each about a pass

    def _pass(self, number: int) -> Callable[[str], Found]:
        return lambda url: count.count_pass(url, self._ledger, number, TIMEOUT_S)

    def _all(self, _: int) -> Callable[[str], Found]:
        return lambda url: count.count_by_metrics(url, self._ledger, self._long_acknowledged(), TIMEOUT_S)

    def _trace(self, number: int) -> Callable[[str], Found]:
        there = np.flatnonzero(self._ledger.bounds(number)[0])
        trace = int(self._rng.choice(there)) if len(there) else 0
        sent = count.sent_spans(self._ledger, number, trace)
        return lambda url: count.check_trace(url, number, trace, sent, TIMEOUT_S) if sent else Found()

    def _other(self, number: int) -> Callable[[str], Found]:
        return partial(questions.answered, next(self._others), self._ledger, number, within_s=TIMEOUT_S)

    def _long_acknowledged(self) -> int:
        """Spans that were acknowledged LATE_S ago."""
        latest_s, found = time.monotonic() - LATE_S, 0
        while self._acknowledged and self._acknowledged[0][0] <= latest_s:
            found = self._acknowledged.popleft()[1]
        self._acknowledged.appendleft((latest_s, found))
        return found

    # ----

    def _ask(self, question: Callable[[str], Found]) -> None:
        found = self._answer(question)
        if found is not None and found.missing:
            time.sleep(LATE_S)
            self.late += 1
            found = self._answer(question)
        if found is not None:
            # So that the logs of that time can be read.
            found.examples = [f"{time.strftime('%H:%M:%S')} {text}" for text in found.examples]
            self.found.append(found)

    def _answer(self, question: Callable[[str], Found]) -> Found | None:
        try:
            return question(self._url())
        except urllib.error.HTTPError as error:
            with error:
                text = f"{error.code}: {error.read().decode(errors='replace').strip()[:80]}"
            told = error.headers.get("Retry-After") is not None
            fine = error.code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS) and told
            (self.refused if fine else self.wrong_refusals)[text] += 1
        except count.PartialAnswerError:  # a trace by its id says so instead of 503
            self.refused["206: partial"] += 1
        except (OSError, http.client.HTTPException) as error:  # the process was killed, or stands still
            reason = getattr(error, "reason", error)
            fine = not self._orderly or isinstance(reason, ConnectionRefusedError)
            (self.refused if fine else self.wrong_refusals)[type(reason).__name__] += 1
        return None
