"""Topic `spans` → series, pushed every some seconds; offsets are committed when the push that holds them was accepted.

Counters live in memory and only grow. A push says what they are, so one that did not work is made good by the next.
What a partition has added since the last push is kept apart until then: if the partition goes to another worker, it is
dropped, and the other counts it.

Before a push is sent, it is written to the data folder with the counters that it says and the offsets that they hold
(`journal/journal_file.py`). After a crash the same worker says the same push once more, goes on from these counters,
and reads from these offsets. Without a journal counters begin at 0 again: series say so with a sample of 0 at the time
of the start, and the records after the last commit are counted again. Unpaired spans that waited then are read again
from the records before it: with each offset is kept until when unpaired spans had waited.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from faust.types import TP

from agents.generator.journal.journal_file import FAILED as JOURNAL_FAILED
from agents.generator.journal.journal_file import JournalFile
from agents.generator.journal.journal_format import Saved
from agents.generator.offsets import CommitMetadata, Partition, Position, tenants_of
from agents.generator.own_metrics import DISCARDED, PUSHES, RECEIVED, REDELIVERED
from agents.generator.push.push import Push, again
from agents.generator.push.send_queues import SendQueues, Target, merged_backlog
from agents.generator.tenants import Tenant, TenantConfigs
from agents.stream.stream_app import StreamApp
from agents.stream.stream_events import events
from tables.errors import WireError
from tables.wall import is_fault

log = logging.getLogger(__name__)

_POSITIONS_MAX: Final = 64


class MetricsGenerator:
    """Counts the records of this worker's partitions and pushes what came of them.

    instance: this worker's name, the same after a restart; journal: None: counters do not outlive the process
    """

    def __init__(
        self,
        app: StreamApp,
        topic: str,
        configs: TenantConfigs,
        targets: Sequence[Target],
        instance: str,
        journal: JournalFile | None = None,
        queue_bytes_max: int = 64 << 20,
    ) -> None:
        self.app, self.topic, self.instance = app, topic, instance
        self._configs, self._journal = configs, journal
        self._send_queues = SendQueues(targets, queue_bytes_max, self._one_is_done)
        self._tenants: dict[str, Tenant] = {}
        self._partitions: dict[TP, Partition] = {}
        self._begins: dict[TP, int] = {}
        self._ownerships = 0
        self._number = 0  # of the last collection
        self._collected_ms = _now_ms()
        self._collected: dict[TP, Position] = {}  # by the last collection, also of partitions that went
        self._positions: deque[tuple[int, dict[TP, Position]]] = deque()  # of collections that are not committed
        self._cluster_id = ""
        self._saved: Saved | None = None  # by a former process; what it is good for is known with the first assignment
        self._changed = asyncio.Event()  # another one whenever a push is done
        self._collecting, self._committing = asyncio.Lock(), asyncio.Lock()

    # ---- assignment

    async def restore(self, cluster_id: str) -> None:
        """Reads the journal, before partitions are assigned. cluster_id: tells this Kafka's offsets from another
        one's.
        """
        if self._journal is not None:
            self._cluster_id = cluster_id
            self._saved = await self._journal.load(cluster_id, self.topic, self.instance)

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Forgets partitions that went; says where to read on in those that stayed, and to begin in new ones."""
        mine = {tp for tp in assignment if tp.topic == self.topic}
        for gone in set(self._partitions) - mine:
            del self._partitions[gone]
            for tenant in self._tenants.values():
                tenant.generator.forget(gone.partition)
        new = mine - set(self._partitions)
        committed = await self._committed(new)
        if self._saved is not None:
            self._adopt(self._saved, committed)
            self._saved = None
        # Numbers never go back: they tell what is older.
        notes = [note for _, note in committed.values() if note is not None and note.instance == self.instance]
        self._number = max([self._number, *(note.number for note in notes)])
        positions = {tp: position for tp in new if (position := self._beginning(tp, committed.get(tp))) is not None}
        await self._note_begins(new - set(positions), committed)
        wait_ms = round(self._configs.longest_wait_s() * 1000)
        first = await self.app.consumer.offsets_at(
            {tp: max(0, position.waited_ms - wait_ms) for tp, position in positions.items()}
        )
        for tp, position in positions.items():
            recall = min(position.next_offset, first.get(tp, position.next_offset))
            self._partitions[tp] = Partition(position.ownership, position.next_offset, recall, position.waited_ms)
        return {
            tp: state.recall_offset if state.recalling else state.next_offset for tp, state in self._partitions.items()
        }

    async def _note_begins(self, tps: set[TP], committed: Mapping[TP, tuple[int, CommitMetadata | None]]) -> None:
        """Where Kafka begins with partitions of which nobody has counted anything."""
        unknown = tps - set(committed)
        self._begins = {**await self.app.consumer.earliest_offsets(*unknown)} if unknown else {}
        self._begins |= {tp: committed[tp][0] for tp in tps & set(committed)}

    async def _committed(self, new: set[TP]) -> dict[TP, tuple[int, CommitMetadata | None]]:
        found = await self.app.consumer.committed(new) if new else {}
        return {tp: (offset, CommitMetadata.read(note)) for tp, (offset, note) in found.items()}

    def _beginning(self, tp: TP, committed: tuple[int, CommitMetadata | None] | None) -> Position | None:
        """Where to begin in a partition; None: where Kafka says, and nobody has counted anything of it."""
        known = self._collected.get(tp)
        if committed is None:
            return known
        offset, note = committed
        if known is not None and note is not None and note.instance == self.instance and offset <= known.next_offset:
            return known  # nobody else had it meanwhile
        self._collected.pop(tp, None)
        if note is None:
            return None
        return Position(self._new_ownership(), offset, note.waited_ms)

    def _new_ownership(self) -> int:
        self._ownerships += 1
        return self._ownerships

    def _adopt(self, saved: Saved, committed: Mapping[TP, tuple[int, CommitMetadata | None]]) -> None:
        """Goes on where a former process was, unless it has said more than the journal knows."""
        positions = {
            TP(self.topic, number): Position(self._new_ownership(), *position)
            for number, position in saved.positions.items()
        }
        for tp, (offset, note) in committed.items():
            ours = note is not None and note.instance == self.instance and tp in positions
            if ours and (note.number > saved.number or offset > positions[tp].next_offset):  # type: ignore[union-attr]
                JOURNAL_FAILED.labels("older").inc()
                log.warning("the journal is older than what was committed of %s[%d]; counters begin anew", *tp)
                return
        self._number, self._collected_ms = saved.number + 1, max(self._collected_ms, saved.collected_ms)
        self._collected, self._positions = positions, deque([(saved.number, positions)])
        notes = [note for _, note in committed.values() if note is not None and note.instance == self.instance]
        done = max((note.number for note in notes), default=0)  # all targets have dealt with what is committed
        self._send_queues.put_back(
            {key: [again(push) for push in pushes if push.last > done] for key, pushes in saved.backlog.items()}
        )
        for name, one in saved.tenants.items():
            self._tenants[name], ends = Tenant.restored(name, self._configs.of(name), one)
            if not one.held and one.push.last > done:
                self._send_queues.put(name, again(one.push))
            if ends is not None:
                self._send_queues.put(name, ends)

    def taken(self) -> dict[TP, int]:
        """The first offset of each partition that is not counted, or not recalled, yet."""
        return self._begins | {
            tp: min(state.next_offset, state.recall_offset) for tp, state in self._partitions.items()
        }

    async def revoked(self, revoked: Iterable[TP]) -> None:
        """Partitions are about to go: what was counted of them is pushed and committed, if that is quick."""
        if any(tp in self._partitions for tp in revoked):
            await self.push_now(within_s=3.0)

    # ---- records

    def take(self, message: Any) -> None:
        """One record of the topic."""
        if message.generation_id != self.app.consumer_generation_id:
            return  # of an assignment that is over; whoever has the partition now reads it again
        state = self._partitions.get(message.tp)
        if state is None:
            state = Partition(self._new_ownership(), message.offset, message.offset)
            self._partitions[message.tp] = state
        if message.offset < state.next_offset:
            if message.offset >= state.recall_offset:
                self._recall(state, message)
            else:
                REDELIVERED.inc()
            return
        if state.recalling:  # the topic has a gap
            self._recalled(state, message.partition)
        state.next_offset = state.recall_offset = message.offset + 1
        state.clock_ms, state.read_ms = round(message.timestamp * 1000), _now_ms()
        try:
            parts = tenants_of(message)
        except BaseException as err:
            if not is_fault(err):
                raise
            DISCARDED.labels("", "unreadable_record").inc()
            _log_skipped(message, err)
            return
        for tenant, spans in parts:
            try:
                generator = self._tenant(tenant).generator
                generator.add(message.partition, spans, state.clock_ms, time.time(), message.offset)
            except BaseException as err:
                if not is_fault(err):
                    raise
                DISCARDED.labels(tenant, "failed").inc(len(spans))
                _log_skipped(message, err)
            else:
                RECEIVED.labels(tenant).inc(len(spans))

    def _recall(self, state: Partition, message: Any) -> None:
        """One record that was counted before we began."""
        state.recall_offset = message.offset + 1
        try:
            for tenant, spans in tenants_of(message):
                self._tenant(tenant).generator.recall(message.partition, spans, round(message.timestamp * 1000))
        except BaseException as err:
            if not is_fault(err):
                raise
            _log_skipped(message, err)  # counted when it was read first
        if not state.recalling:
            self._recalled(state, message.partition)

    def _recalled(self, state: Partition, partition: int) -> None:
        state.recall_offset = state.next_offset
        state.clock_ms, state.read_ms = state.waited_ms, _now_ms()
        for tenant in self._tenants.values():
            tenant.generator.recalled(partition, state.waited_ms)

    def _tenant(self, name: str) -> Tenant:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = Tenant.new(name, self._configs.of(name))
        return found

    # ---- pushes

    async def collect(self, *, everything: bool = False) -> None:
        """Makes a push of what was counted, of all tenants that are due, and has it sent. everything: of all."""
        # Once begun it must come to its end: what is collected and not queued would never be told.
        await asyncio.shield(asyncio.ensure_future(self._collect(everything=everything)))

    async def _collect(self, *, everything: bool) -> None:
        async with self._collecting:
            if self._saved is not None:
                return  # it is not known yet what goes on
            time_ms, created_ms = max(_now_ms(), self._collected_ms + 2), self._collected_ms + 1
            self._number += 1
            self._let_wait_go_on()
            self._collected |= {tp: state.position for tp, state in self._partitions.items()}
            positions = dict(self._collected)
            pushes: dict[str, Push] = {}
            for name, tenant in self._tenants.items():
                times_ms = time_ms, created_ms
                push = tenant.collect_or_restart(self._number, *times_ms, self._configs.of(name), due=everything)
                if push is not None:
                    pushes[name] = push
            self._collected_ms = time_ms + 1  # where series end, they do after their last value
            if self._journal is not None:
                await self._write_journal(self._journal, pushes)
            self._keep_positions(positions)
            for name, push in pushes.items():
                self._send_queues.put(name, push)
            self._send_queues.keep_to_bytes_max()
            self._one_is_done()  # there may be nothing to send

    async def _write_journal(self, journal: JournalFile, pushes: Mapping[str, Push]) -> None:
        """Saves what this collection says, and what targets may not have got yet of those before."""
        now = Saved(
            self._cluster_id,
            self.topic,
            self.instance,
            self._number,
            self._collected_ms,
            {tp.partition: (position.next_offset, position.waited_ms) for tp, position in self._collected.items()},
            {name: tenant.saved(pushes.get(name)) for name, tenant in self._tenants.items()},
            {},
        )
        backlog = await asyncio.to_thread(merged_backlog, *self._send_queues.backlog())
        await journal.save(replace(now, backlog=backlog))

    def _keep_positions(self, positions: dict[TP, Position]) -> None:
        """Remembers what the newest collection holds, of older ones only what may be committed alone."""
        self._positions.append((self._number, positions))
        if len(self._positions) > _POSITIONS_MAX:
            wanted = self._send_queues.ends() | {self._number} | self._held()
            self._positions = deque(one for one in self._positions if one[0] in wanted)

    def _held(self) -> set[int]:
        return {tenant.held.first - 1 for tenant in self._tenants.values() if tenant.held is not None}

    def _let_wait_go_on(self) -> None:
        now_ms = _now_ms()
        for tp, state in self._partitions.items():
            if state.wait_until(now_ms):
                for tenant in self._tenants.values():
                    tenant.generator.idle(tp.partition, state.waited_ms)

    def _one_is_done(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _done_through(self) -> int:
        """Number of the last collection that all targets have dealt with, of all tenants."""
        return min(self._send_queues.done_through(self._number), *self._held(), self._number)

    async def _commit(self) -> None:
        """Commits what all targets have dealt with."""
        async with self._committing:
            through, done = self._done_through(), None
            while self._positions and self._positions[0][0] <= through:
                done = self._positions.popleft()
                PUSHES.inc()
            if done is None:
                return
            number, positions = done
            # A partition that went and came back meanwhile was read again from what is committed.
            ours = {
                tp: position
                for tp, position in positions.items()
                if tp in self._partitions and self._partitions[tp].ownership == position.ownership
            }
            if ours:
                await self.app.consumer.commit_through(
                    {tp: position.next_offset for tp, position in ours.items()},
                    {
                        tp: str(CommitMetadata(position.waited_ms, number, self.instance))
                        for tp, position in ours.items()
                    },
                )

    async def commit_forever(self) -> None:
        """Commits whenever a push is done."""
        while True:
            changed = self._changed
            await self._commit()
            await changed.wait()

    async def push_now(self, within_s: float) -> None:
        """Collects, sends and commits, unless that takes too long: then others count it again from the last commit."""
        try:
            async with asyncio.timeout(within_s):
                await self.collect(everything=True)
                number = self._number
                while self._done_through() < number:
                    await self._changed.wait()
                await self._commit()
        except TimeoutError:
            log.warning("the last push was not accepted and committed within %.0f s", within_s)

    def stop(self) -> None:
        """Gives up what is under way."""
        self._send_queues.stop()


def _log_skipped(message: Any, err: BaseException) -> None:
    foreseen = isinstance(err, WireError)  # a traceback would say nothing more
    said = err if foreseen else f"{type(err).__name__}: {err}"
    position = message.topic, message.partition, message.offset
    log.warning("skipped %s[%d]@%d: %s", *position, said, exc_info=None if foreseen else err)


def _now_ms() -> int:
    return int(time.time() * 1000)


def register(app: StreamApp, generator: MetricsGenerator) -> None:
    """Adds the agent. Whoever runs the worker restores, collects, commits, and pushes and stops at the end."""
    topic = app.topic(generator.topic, value_serializer="raw", value_type=bytes, key_serializer="raw", key_type=bytes)
    app.resume, app.progress = generator.resume, generator.taken

    @app.agent(topic, name="metrics_generator")
    async def metrics_generator(stream: Any) -> None:
        async for event in events(stream):
            generator.take(event.message)
            # Faust keeps the message until it is acknowledged, which here never happens.
            event.value = event.message.value = None

    @app.on_partitions_revoked.connect(weak=False)
    async def revoked(_: Any, partitions: Iterable[TP], **__: Any) -> None:
        await generator.revoked(partitions)
