"""What a query tells while it runs, and to whom."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from query.scan.profile import Profile


class Progress:
    """Told by one query, on its thread, what is known of the answer already: at once, then not more often than every_s.

    tell: gets an answer like the last one, of which nothing will be corrected: rows that are not final are not in it.
        `inspected` says how much is left
    share: of the query's time at most so much goes to telling: making the rows that are told takes time, too
    """

    def __init__(self, tell: Callable[[Any], None], every_s: float, share: float = 0.1) -> None:
        self._tell, self._every_s, self._share = tell, every_s, share
        self._next_s = self._asked_s = 0.0

    def due(self) -> bool:
        """Whether to make an answer for `tell`."""
        self._asked_s = time.monotonic()
        return self._asked_s >= self._next_s

    def tell(self, answer: Any) -> None:
        """After `due`."""
        self._tell(answer)
        now_s = time.monotonic()
        self._next_s = now_s + max(self._every_s, (now_s - self._asked_s) / self._share)


@dataclass(frozen=True, slots=True)
class QueryObserver:
    """What the one who asks wants to know about one query beside its answer; a new one for each query."""

    profile: Profile = field(default_factory=Profile)  # the query fills it
    progress: Progress | None = None  # None: nobody listens before the end
    # Gets a text for each thing that could not be read; None: the query fails instead.
    lacks: list[str] | None = None
