"""What a query tells while it runs, and to whom."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from query.scan.profile import Profile


class Progress:
    """Receives from one query, on its thread, what is known of the answer already: at once, then at most every_s.

    tell: gets an answer of the same form as the last one. Only rows that are final are in it; `inspected` says how
        much is left
    share: upper bound of the fraction of query time spent on early answers, which take time to make
    """

    def __init__(self, tell: Callable[[Any], None], every_s: float, share: float = 0.1) -> None:
        self._tell, self._every_s, self._share = tell, every_s, share
        self._next_s = self._asked_s = 0.0

    def due(self) -> bool:
        """Whether to make an answer for `tell`."""
        self._asked_s = time.monotonic()
        return self._asked_s >= self._next_s

    def tell(self, answer: Any) -> None:
        """Hands over an answer. Call it only when `due` has said so: it notes the time that making the answer took."""
        self._tell(answer)
        now_s = time.monotonic()
        self._next_s = now_s + max(self._every_s, (now_s - self._asked_s) / self._share)


@dataclass(frozen=True, slots=True)
class QueryObserver:
    """What the one who asks wants to know about one query beside its answer; a new one for each query."""

    profile: Profile = field(default_factory=Profile)  # the query fills it
    progress: Progress | None = None  # None: nobody listens before the end
    # Gets a text for each thing that could not be read; None: the query fails instead.
    missing_data: list[str] | None = None
