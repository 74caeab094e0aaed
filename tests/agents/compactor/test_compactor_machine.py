"""Whatever happens in whatever order, readers find every span of a flushed block exactly once.

A state machine over a real object store: blocks are flushed, two compactors plan and merge, both may lead, each
may die before or after any storage operation, jobs run twice, late, or never, and readers are behind by a poll.
"""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.compactor.job import Job
from tests.helpers.blocks.compactors import GRACE_S, Bucket, Compactor, Killed, Reader
from tests.helpers.examples import examples

PROCESS = st.integers(0, 1)
# None: it lives on; else after how many storage requests it dies, and whether the last one is done
DEATH = st.none() | st.tuples(st.integers(1, 40), st.booleans())


class CompactionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bucket = Bucket(self.folder)
        self.compactors = [Compactor(self.bucket), Compactor(self.bucket)]
        self.readers = [Reader(self.bucket), Reader(self.bucket)]
        self.jobs: list[Job] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(partition=st.integers(0, 1), counts=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5))
    def flush(self, partition, counts) -> None:
        for of_a, of_b in counts:
            self.bucket.flush(partition, {"a": of_a, "b": of_b})

    @rule(process=PROCESS, death=DEATH)
    def lead(self, process, death) -> None:
        """A cycle of a leader."""
        self.mortal(process, death, lambda compactor: self.jobs.extend(compactor.cycle()))

    @precondition(lambda self: self.jobs)
    @rule(process=PROCESS, death=DEATH, number=st.integers(0, 30), again=st.booleans(), lost=st.booleans())
    def work(self, process, death, number, again, lost) -> None:
        """A job, which may be in the topic for longer, or twice. lost: the reply to a write of an index"""
        self.compactors[process].store.reply_lost = lost
        job = self.jobs[number % len(self.jobs)]
        if self.mortal(process, death, lambda compactor: compactor.run(job)) and not again:
            self.jobs.remove(job)

    def mortal(self, process, death, action) -> bool:
        """Whether it lived to the end."""
        compactor = self.compactors[process]
        if death is not None:
            compactor.store.requests_left, compactor.store.after = death
        try:
            action(compactor)
        except Killed:
            self.compactors[process] = Compactor(self.bucket)
            return False
        compactor.store.requests_left, compactor.store.reply_lost = None, False
        return True

    @rule(reader=st.integers(0, 1))
    def poll(self, reader) -> None:
        self.readers[reader].poll()

    @rule(reader=st.integers(0, 1))
    def begin_anew(self, reader) -> None:
        """A process that has just been started."""
        self.readers[reader] = Reader(self.bucket)

    @rule(minutes=st.sampled_from([1, 10, 20, 50, 300]))
    def wait(self, minutes) -> None:
        """Time passes. Readers poll more often than every grace period."""
        self.bucket.now_s += 60 * minutes
        for reader in self.readers:
            if self.bucket.now_s - reader.polled_s > GRACE_S - 60:
                reader.poll()

    @invariant()
    def readers_are_right(self) -> None:
        for reader in self.readers:
            reader.check()


CompactionMachine.TestCase.settings = settings(max_examples=examples(15), stateful_step_count=40, deadline=None)
TestCompaction = CompactionMachine.TestCase
