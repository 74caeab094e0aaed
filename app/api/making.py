"""How long the text of an answer may be made: as long as its query, and only while somebody waits for it."""

import time
from typing import Final, Self

from prometheus_client import Counter

from app.api.errors import AnswerTooSlow, TooManyRequests
from query.errors import QueryCancelled

GIVEN_UP: Final = Counter(
    "stretto_answers_given_up_total",
    "Answers that were not made to their end: their text took longer than query.timeout_s, or the client was gone.",
)


class Making:
    """One for each answer. Threads that make it do so inside of it, as a context, one after the other, and ask it
    between parts. limit_s: so long they may take together
    """

    __slots__ = ("_begun", "_computed_s", "_limit_s", "_stopped", "_took_s")

    def __init__(self, limit_s: float) -> None:
        self._limit_s, self._stopped = limit_s, False
        self._took_s = self._computed_s = 0.0
        self._begun = (0.0, 0.0)

    def stop(self) -> None:
        """Nobody waits any more. May be called on any thread, and when it is made."""
        self._stopped = True

    def __enter__(self) -> Self:
        self._begun = time.monotonic(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        took_s, computed_s = self._now()
        self._took_s += took_s
        self._computed_s += computed_s

    def go_on(self) -> None:
        """Called between parts. Raises: QueryCancelled: nobody waits; AnswerTooSlow; TooManyRequests where others had
        the CPUs for most of the time
        """
        if self._stopped:
            GIVEN_UP.inc()
            raise QueryCancelled
        took_s, computed_s = self._now()
        if self._took_s + took_s <= self._limit_s:
            return
        GIVEN_UP.inc()
        others_s = self._limit_s - self._computed_s - computed_s
        if others_s > self._limit_s / 2:
            raise TooManyRequests(
                f"others had the CPUs for {others_s:.1f} s of the {self._limit_s:g} s that an answer's text may take "
                "(query.timeout_s)"
            )
        raise AnswerTooSlow(self._limit_s)

    def _now(self) -> tuple[float, float]:
        wall_s, cpu_s = self._begun
        return time.monotonic() - wall_s, time.thread_time() - cpu_s
