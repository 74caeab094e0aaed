"""Decides whether a consumer works, and what to do if not. It has no access to Kafka: `look` gets all facts."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from faust.types import TP

from agents.stream.topic_ends import lag

# A later check counts as this long: a stop of the whole process is not the consumer's fault.
_LOOK_S_MAX: Final = 2.0
_THREAD_LATE_S: Final = 3.0
# For this time, a possible rebalance is not reported.
_REPORTED_AFTER_S: Final = 3.0
# While it reads others, a symptom of one partition counts for so much: a whole fetch, often hundreds of records, is
# handed over before those of the next partition. Where a CPU is hard to get, that takes longer than stall_s.
_OTHERS_MOVE: Final = 0.5
# Time limit until a consumer works again or the process ends.
_PATIENCE_S: Final = 30.0


class Action(Enum):
    """What the watchdog asks of its caller: nothing, a new consumer, or the end of the process."""

    NOTHING = "nothing"
    REBUILD = "rebuild"
    END = "end"


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of a consumer at one moment.

    failure: an error that the consumer itself reports; thread_late_s: how long its thread has not run
    member: whether it is in its group, according to Kafka; owned: the partitions that Kafka assigned to it; None: Kafka
    did not answer
    unowned: partitions that its group has assigned to nobody
    assigned: the partitions that the consumer knows; taken: the first offset of each that its agent has not taken
    ends: end offsets; None: Kafka did not answer; waits: why the agent reads nothing, by partition (None: all)
    """

    failure: str = ""
    thread_late_s: float = 0.0
    member: bool | None = None
    owned: AbstractSet[TP] | None = None
    unowned: AbstractSet[TP] = frozenset()
    assigned: AbstractSet[TP] = frozenset()
    taken: Mapping[TP, int] = field(default_factory=dict)
    ends: Mapping[tuple[str, int], int] | None = None
    waits: Mapping[int | None, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """reason: a metric label; text: for the log; problems: for /ready"""

    action: Action
    reason: str
    text: str
    problems: tuple[str, ...]


@dataclass(slots=True)
class _Symptom:
    reason: str
    text: str
    for_s: float = 0.0


class ConsumerWatchdog:
    """Watches one consumer. It rebuilds a consumer whose symptom lasts for stall_s while Kafka answers. If rebuilding
    does not help within half a minute (at least one attempt), the process ends. After stall_s without symptoms the
    count starts again.
    """

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._symptoms: dict[object, _Symptom] = {}
        self._taken: dict[TP, int] = {}
        self._moved: set[TP] = set()  # since the last look
        self._looked_s: float | None = None
        self._rebuilds = 0
        self._rebuilds_max = max(1, int(_PATIENCE_S / stall_s) - 1)
        self._well_s = 0.0

    def begin_anew(self) -> None:
        """What was seen until now counts no more: this process stood, or the consumer is another one."""
        for symptom in self._symptoms.values():
            symptom.for_s = 0.0

    def look(self, now_s: float, seen: Seen) -> Verdict:
        """The verdict on the current state. now_s: time.monotonic()"""
        passed_s = 0.0 if self._looked_s is None else min(_LOOK_S_MAX, max(0.0, now_s - self._looked_s))
        self._looked_s = now_s
        found = self._found(seen)
        before, self._symptoms = self._symptoms, {}
        answers = seen.ends is not None
        for key, (reason, text) in found.items():
            symptom = _Symptom(reason, text, before[key].for_s if key in before else 0.0)
            # While Kafka is away nobody can consume, and nothing is acknowledged that could be missed.
            if answers or key == "thread":
                weight = _OTHERS_MOVE if reason == "behind" and self._moved else 1.0
                symptom.for_s += weight * passed_s if key in before else 0.0
            self._symptoms[key] = symptom
        self._well_s = 0.0 if self._symptoms else self._well_s + passed_s
        if self._well_s >= self._stall_s:
            self._rebuilds = 0
        return self._verdict(answers=answers)

    @property
    def suspects(self) -> bool:
        """Whether anything is not as it should be, however shortly."""
        return bool(self._symptoms)

    def _verdict(self, *, answers: bool) -> Verdict:
        problems = tuple(one.text for one in self._symptoms.values() if one.for_s >= _REPORTED_AFTER_S)
        for key, one in self._symptoms.items():
            # A failed consumer does not recover by itself.
            at_once = key == "failed" and answers and not self._rebuilds
            if one.for_s < self._stall_s and not at_once:
                continue
            action = Action.END if self._rebuilds == self._rebuilds_max or key == "thread" else Action.REBUILD
            self._symptoms = {}
            self._rebuilds += 1
            return Verdict(action, one.reason, one.text, problems or (one.text,))
        return Verdict(Action.NOTHING, "", "", problems)

    def _found(self, seen: Seen) -> dict[object, tuple[str, str]]:
        if seen.thread_late_s > _THREAD_LATE_S:
            return {"thread": ("thread", "its thread hangs")}
        found: dict[object, tuple[str, str]] = {}
        if seen.failure:
            found["failed"] = ("failed", seen.failure)
        if seen.member is False:
            found["group"] = ("no_group", "it is not in its consumer group")
        elif seen.owned is not None and (missing := seen.owned - seen.assigned):
            names = ", ".join(str(tp.partition) for tp in sorted(missing))
            found["assignment"] = ("assignment", f"it does not know that it has partition {names}")
        elif seen.unowned:
            names = ", ".join(str(tp.partition) for tp in sorted(seen.unowned))
            found["unowned"] = ("unowned", f"its consumer group has given partition {names} to nobody")
        everything = None in seen.waits
        self._moved = set()
        for tp in sorted(seen.assigned):
            if seen.ends is None or tp not in seen.ends:
                if ("behind", tp) in self._symptoms:  # as it was
                    one = self._symptoms["behind", tp]
                    found["behind", tp] = (one.reason, one.text)
                continue
            taken = seen.taken.get(tp, -1)
            moved, self._taken[tp] = taken != self._taken.get(tp), taken
            if moved:
                self._moved.add(tp)
            late = taken < 0 or lag(taken, tp.topic, tp.partition, seen.ends) > 0
            if late and not moved and not everything and tp.partition not in seen.waits:
                where = f"stands at offset {taken}" if taken >= 0 else "is not opened"
                found["behind", tp] = ("behind", f"{tp.topic}[{tp.partition}] {where} of {seen.ends[tp]}")
        return found
