"""Whether an app begins to consume in time after the start of the process. Asks nobody: it is told."""

from enum import Enum
from typing import Final

# A look that comes later counts as this long: what stopped the whole process is no fault of the start.
_LOOK_S_MAX: Final = 2.0
_REPORTED_AFTER_S: Final = 3.0


class Begun(Enum):
    """How far the start of an app is; the value is for people."""

    NOT_STARTED = "its start has not begun: it waits for other parts of this process"
    STARTING = "its start has not ended"
    NOT_SUBSCRIBED = "it has started, and has not subscribed to its topic"
    CONSUMES = "it has subscribed to its topic"


class StartWatchdog:
    """Of one app. While Kafka is away nothing can start, and the time stands still."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._waited_s = 0.0
        self._looked_s: float | None = None
        self._problems: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the app does not consume yet, for /ready; empty during the first seconds."""
        return self._problems

    def look(self, now_s: float, begun: Begun, *, kafka_answers: bool) -> str:
        """Why the process should end; "": it should not. now_s: by time.monotonic()"""
        passed_s = 0.0 if self._looked_s is None else min(_LOOK_S_MAX, max(0.0, now_s - self._looked_s))
        self._looked_s = now_s
        if begun is Begun.CONSUMES:
            self._waited_s = 0.0
        elif kafka_answers:
            self._waited_s += passed_s
        self._problems = (begun.value,) if self._waited_s >= _REPORTED_AFTER_S else ()
        if self._waited_s < self._within_s:
            return ""
        return f"{begun.value}, {self._waited_s:.0f} s after Kafka has answered for the first time"
