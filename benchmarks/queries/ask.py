"""Questions over HTTP/1, on a connection that is kept, timed to the answer's last byte."""

import hashlib
import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from benchmarks.queries.cases import Call, Case
from benchmarks.queries.expect import wrong
from tests.harness.cluster import BenchError

TIMEOUT_S: Final = 90.0  # more than the server gives a query
LEAST_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    took_s: float


class Connection:
    """To one server. As a context manager: closed outside."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, target: str) -> Answer:
        """Raises BenchError where there is no answer. A connection that the server had closed is opened anew."""
        for last in (False, True):
            began_s = time.perf_counter()
            try:
                self._http.request("GET", target, headers={"Accept": "application/json"})
                answer = self._http.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                if last or not isinstance(error, ConnectionError):
                    raise BenchError(f"{self._url}{target}: no answer: {error!r}") from error
                continue
            return Answer(answer.status, body, time.perf_counter() - began_s)
        raise AssertionError("returns or raises before")


@dataclass(slots=True)
class Timing:
    """Of one query: how long each answer took, in the order in which they came; what was wrong with the first that
    was, "" if all were right.
    """

    name: str
    took_s: list[float] = field(default_factory=list)
    answer_bytes: int = 0
    wrong: str = ""


class Judge:
    """Judges answers; one that equals the right one before costs a digest only."""

    def __init__(self) -> None:
        self._right: dict[str, bytes] = {}  # the digest of the last right body of each target

    def wrong(self, call: Call, answer: Answer) -> str:
        digest = hashlib.blake2b(answer.body, digest_size=16).digest()
        if answer.status == http.HTTPStatus.OK and self._right.get(call.target) == digest:
            return ""
        problem = wrong(call.expect, answer.status, answer.body)
        if not problem:
            self._right[call.target] = digest
        return problem


def timed(connection: Connection, case: Case, runs: int, limit_s: float) -> Timing:
    """Ask `runs` times, or fewer, but at least three times, where that takes longer than `limit_s`."""
    timing, judge = Timing(case.name), Judge()
    deadline_s = time.perf_counter() + limit_s
    for number in range(runs):
        if number >= LEAST_RUNS and time.perf_counter() > deadline_s:
            break
        call = case.calls[number % len(case.calls)]
        answer = connection.get(call.target)
        timing.took_s.append(answer.took_s)
        timing.answer_bytes = max(timing.answer_bytes, len(answer.body))
        timing.wrong = timing.wrong or judge.wrong(call, answer)
    return timing


def all_timed(url: str, cases: Sequence[Case], runs: int, limit_s: float) -> list[Timing]:
    """One after the other, on one connection. Raises BenchError where the server does not answer."""
    with Connection(url) as connection:
        return [timed(connection, case, runs, limit_s) for case in cases]
