"""Which traces were acknowledged: as ranges, so that the memory for years is that of a few numbers."""

import json
from bisect import bisect_left
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from app.errors import StrettoError

_RANGES_MAX: Final = 10_000
_VERSION: Final = 1


class StateError(StrettoError):
    """The file of --state-file cannot be used: why, and what to do."""


class Range(NamedTuple):
    """Times of traces, every `interval_s`, both ends included."""

    first_s: int
    last_s: int


class WrittenTraces:
    """The times of all traces that were acknowledged whole, as far back as the retention reaches.

    What was refused, or never answered, is in no range: nobody can say whether it is stored.
    """

    def __init__(self, interval_s: int, retention_s: int, ranges: list[Range] | None = None) -> None:
        """ranges: in order, without touching each other"""
        self._interval_s, self._retention_s = interval_s, retention_s
        self._ranges = ranges or []

    @property
    def ranges(self) -> tuple[Range, ...]:
        return tuple(self._ranges)

    def add(self, time_s: int) -> None:
        """A trace was acknowledged. Late writes make traces end out of order."""
        at = bisect_left(self._ranges, (time_s, time_s))
        before = self._ranges[at - 1] if at else None
        after = self._ranges[at] if at < len(self._ranges) else None
        first_s = last_s = time_s
        if before is not None and before.last_s >= time_s - self._interval_s:
            first_s, last_s = before.first_s, max(before.last_s, time_s)
            at -= 1
            del self._ranges[at]
        if after is not None and after.first_s <= last_s + self._interval_s:
            last_s = max(last_s, after.last_s)
            del self._ranges[at]
        self._ranges.insert(at, Range(first_s, last_s))
        if len(self._ranges) > _RANGES_MAX:
            del self._ranges[0]

    def forget(self, now_s: float) -> None:
        """Drops what the retention may have deleted."""
        oldest_s = int(now_s) - self._retention_s
        while self._ranges and self._ranges[0].last_s < oldest_s:
            del self._ranges[0]
        if self._ranges and (behind_s := oldest_s - self._ranges[0].first_s) > 0:
            steps = -(-behind_s // self._interval_s)
            self._ranges[0] = self._ranges[0]._replace(first_s=self._ranges[0].first_s + steps * self._interval_s)

    def choose(self, rng: Random, from_s: float, to_s: float) -> int | None:
        """One of the traces between two times, each as likely as any other; None: there is none."""
        counts = []
        for one in self._ranges:
            behind_s = max(0, from_s - one.first_s)
            first_s = one.first_s + int(-(-behind_s // self._interval_s)) * self._interval_s
            counts.append((first_s, max(0, int((min(one.last_s, to_s) - first_s) // self._interval_s) + 1)))
        number = int(rng.random() * sum(count for _, count in counts))
        for first_s, count in counts:
            if number < count:
                return first_s + number * self._interval_s
            number -= count
        return None


def load_written(path: Path, seed: str, interval_s: int, retention_s: int) -> WrittenTraces:
    """What an earlier process of the same seed wrote; nothing where there is no file yet. Raises: StateError"""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return WrittenTraces(interval_s, retention_s)
    except (OSError, ValueError) as err:
        raise StateError(f"--state-file {path}: cannot be read: {err}; remove it to start anew") from err
    try:
        known = state["version"], state["seed"], state["interval_s"]
        ranges = [Range(int(first_s), int(last_s)) for first_s, last_s in state["written"]]
    except (KeyError, TypeError, ValueError) as err:
        raise StateError(f"--state-file {path}: is not one of stretto vulture; remove it to start anew") from err
    if known != (_VERSION, seed, interval_s):
        raise StateError(
            f"--state-file {path}: is of version {known[0]}, --seed {known[1]}, --write-interval {known[2]}s; "
            "use these, or another file"
        )
    return WrittenTraces(interval_s, retention_s, ranges)


def save_written(path: Path, seed: str, interval_s: int, written: WrittenTraces) -> None:
    """Replaces the file in one step. Raises: OSError"""
    state = {"version": _VERSION, "seed": seed, "interval_s": interval_s, "written": written.ranges}
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(state), encoding="utf-8")
    new.replace(path)
