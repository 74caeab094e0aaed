"""When a consumer stands, by what is known of it; no Kafka and no clock."""

from dataclasses import replace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from agents.stream.consumer_watchdog import Action, ConsumerWatchdog, Seen
from agents.stream.kafka_batches import HOLES
from agents.stream.topic_ends import TopicEnds

P0, P1 = TP("spans", 0), TP("spans", 1)
STALL_S = 13.0
WELL = Seen(
    member=True, owned=frozenset({P0, P1}), assigned=frozenset({P0, P1}), taken={P0: 5, P1: 7}, ends={P0: 5, P1: 7}
)
BEHIND = replace(WELL, ends={P0: 9, P1: 7})


class Dog:
    """A look each second."""

    def __init__(self) -> None:
        self.dog, self.now_s = ConsumerWatchdog(STALL_S), 100.0

    def look(self, seen: Seen, after_s: float = 1.0) -> Any:
        self.now_s += after_s
        return self.dog.look(self.now_s, seen)

    def first(self, seen: Seen, seconds: int = 60) -> tuple[Action, str, int]:
        """What it wants to do first, why, and after how many looks."""
        for n in range(seconds):
            verdict = self.look(seen)
            if verdict.action is not Action.NOTHING:
                return verdict.action, verdict.reason, n
        return Action.NOTHING, "", seconds


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (replace(WELL, member=False, owned=None), "no_group"),
        (replace(WELL, assigned=frozenset({P0})), "assignment"),
        (BEHIND, "behind"),
        (replace(WELL, taken={P0: 5}), "behind"),  # has not opened what it has
        (replace(BEHIND, member=None, owned=None), "behind"),  # Kafka tells ends, and nothing of groups
        (replace(BEHIND, waits={1: "storage"}), "behind"),
    ],
)
def test_rebuilt_then_ended(seen: Seen, reason: str) -> None:
    """Within 30 s one of both has happened; /ready says why from the third second on."""
    dog = Dog()
    dog.look(WELL)
    texts = [dog.look(seen).problems for _ in range(5)]
    assert (texts[2], len(texts[4])) == ((), 1)
    action, found, n = dog.first(seen)
    assert (action, found) == (Action.REBUILD, reason)
    action, found, m = dog.first(seen)
    assert (action, found) == (Action.END, reason)
    assert 5 + n + m < 30


def test_one_that_reads_other_partitions_is_given_longer() -> None:
    """A slow one has them wait for each other; where only one is read for good, the others' consumer is rebuilt."""
    dog = Dog()
    dog.look(WELL)
    for n in range(200):
        # Each for 16 s, one after the other.
        turn, done = divmod(n, 16)
        taken = {P0: (turn + 1) // 2 * 16 + done * (1 - turn % 2), P1: turn // 2 * 16 + done * (turn % 2)}
        assert dog.look(replace(WELL, taken=taken, ends={P0: 9999, P1: 9999})).action is Action.NOTHING
    verdicts = [dog.look(replace(WELL, taken={P0: n, P1: 3}, ends={P0: 9999, P1: 9999})) for n in range(1000, 1030)]
    assert [verdict.reason for verdict in verdicts if verdict.action is Action.REBUILD] == ["behind"]


@pytest.mark.parametrize(
    "seen",
    [
        WELL,
        replace(WELL, member=None, owned=None),
        replace(BEHIND, waits={None: "heads wait to be sealed"}),
        replace(BEHIND, waits={0: "it is being opened"}),
        replace(BEHIND, ends=None),  # Kafka is away
        replace(WELL, member=False, owned=None, ends=None),
        replace(WELL, owned=frozenset(), assigned=frozenset(), taken={}),  # more workers than partitions
        replace(WELL, failure="joining has ended", ends=None),
    ],
)
def test_left_alone(seen: Seen) -> None:
    """Nothing to do, or a reason to wait."""
    assert Dog().first(seen, 300)[0] is Action.NOTHING


def test_advancing_is_not_standing() -> None:
    """Far behind, one record every ten seconds."""
    dog = Dog()
    for n in range(300):
        seen = replace(WELL, taken={P0: 5 + n // 10, P1: 7}, ends={P0: 1000 + n, P1: 7})
        assert dog.look(seen).action is Action.NOTHING


def test_holes_are_not_waited_for() -> None:
    """The last offsets hold no record that can be read."""
    HOLES.note(P0, 5, 9)
    try:
        assert Dog().first(BEHIND)[0] is Action.NOTHING
    finally:
        HOLES.clear()


def test_failure_is_not_waited_for() -> None:
    """A task of the consumer has ended: nothing gets well by itself."""
    dog = Dog()
    assert dog.first(replace(WELL, failure="fetching has ended"))[:2] == (Action.REBUILD, "failed")
    assert dog.first(replace(WELL, failure="fetching has ended"))[:2] == (Action.END, "failed")


def test_thread_that_hangs_cannot_be_rebuilt() -> None:
    """Also while Kafka is away."""
    assert Dog().first(replace(WELL, thread_late_s=20.0, ends=None))[:2] == (Action.END, "thread")


def test_stopped_process_is_given_time() -> None:
    """A minute under SIGSTOP counts as two seconds; Kafka away stops the clock and does not set it back."""
    dog = Dog()
    dog.look(BEHIND)
    dog.look(BEHIND)
    assert dog.look(BEHIND, 60.0).action is Action.NOTHING
    for _ in range(50):
        assert dog.look(replace(BEHIND, ends=None)).action is Action.NOTHING
    action, _, n = dog.first(BEHIND)
    assert (action, n < STALL_S) == (Action.REBUILD, True)


def test_well_again_may_be_rebuilt_again() -> None:
    """Only what was well for long: else the process ends."""
    for well_s, then in ((20, Action.REBUILD), (10, Action.END)):
        dog = Dog()
        assert dog.first(BEHIND)[0] is Action.REBUILD
        for _ in range(well_s):
            dog.look(WELL)
        assert dog.first(BEHIND)[0] is then


def test_overdue() -> None:
    """An end that was known for long enough, not one that was just told."""
    ends = TopicEnds()
    for now_s, end in ((10, 3), (12, 3), (13, 5), (16, 9)):
        ends.note("spans", 0, end, now_s)
    assert ends.end("spans", 0) == 9
    found = [ends.overdue("spans", 0, 1, now_s, 5) for now_s in (15, 15.1, 18.1, 21.1)]
    assert found == [None, 3, 5, 9]
    assert ends.overdue("spans", 0, 5, 20, 5) is None
    assert ends.overdue("spans", 0, 5, 22, 5) == 9
    assert ends.overdue("spans", 0, 9, 99, 5) is None
    assert ends.overdue("spans", 1, 0, 99, 5) is None
    # Read again from further back: what was reached once is known for long.
    assert ends.overdue("spans", 0, 2, 99, 5) == 9


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=300), st.integers(0, 40), st.integers(0, 300))
def test_overdue_forgets_nothing(reply: list[tuple[int, int]], next_offset: int, now_s: int) -> None:
    """However many ends are told: as late as by all of them, or sooner, never less."""
    ends, at_s, end, late = TopicEnds(), 0, 0, 0
    for later_s, more in reply:
        at_s, end = at_s + later_s, end + more
        ends.note("spans", 0, end, at_s)
        if at_s + 5 < now_s:
            late = end
    found = ends.overdue("spans", 0, next_offset, now_s, 5)
    if late > next_offset:
        assert found is not None
        assert found >= late
    if found is not None:
        assert next_offset < found <= end
