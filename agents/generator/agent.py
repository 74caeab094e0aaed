"""Topic `spans` → series, pushed at an interval. An offset is committed when targets have accepted the push with its
record.

Counters live in memory and only grow. A push holds absolute values, so the next push makes good for a failed one. The
generator keeps what a partition added since the last push apart. If the partition goes to another worker, this part is
dropped, and the other worker counts it.

Before the generator sends a push, it writes it to the data folder, with its counters and the offsets that they include
(`journal/journal_file.py`). After a crash the same worker sends that push again, continues from these counters, and
reads from these offsets. Without a journal, counters start at 0 again: each series shows this with a sample of 0 at the
start, and records after the last commit count again. Each commit also stores the time up to which unpaired spans had
waited; unpaired spans from the records before it are read again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
from faust.types import TP

from agents.generator.journal.journal_file import FAILED as JOURNAL_FAILED
from agents.generator.journal.journal_file import JournalFile
from agents.generator.journal.journal_format import Saved
from agents.generator.offsets import CommitMetadata, Partition, Position, now_ms, tenants_of
from agents.generator.own_metrics import DISCARDED, PUSHES, RECEIVED, REDELIVERED
from agents.generator.push.push import Push, again
from agents.generator.push.send_queues import PushTarget, SendQueues, merged_backlog
from agents.generator.request_records import RequestRecords, WaitingRecord, log_skipped
from agents.generator.tenants import Tenant, TenantConfigs
from agents.stream.span_record import parts_of
from agents.stream.stream_app import StreamApp
from tables.wall import is_fault

log = logging.getLogger(__name__)

_POSITIONS_MAX: Final = 64


class MetricsGenerator:
    """Counts the records of this worker's partitions and pushes the series.

    instance: this worker's name, the same after a restart
    journal: None: counters do not survive the process
    """

    def __init__(  # noqa: PLR0913 (each a collaborator of another kind)
        self,
        app: StreamApp,
        topic: str,
        configs: TenantConfigs,
        targets: Sequence[PushTarget],
        instance: str,
        journal: JournalFile | None = None,
        queue_bytes_max: int = 64 << 20,
    ) -> None:
        self.app, self.topic, self.instance = app, topic, instance
        self._configs, self._journal = configs, journal
        self._send_queues = SendQueues(targets, queue_bytes_max, self._one_is_done)
        self._tenants: dict[str, Tenant] = {}
        self._partitions: dict[TP, Partition] = {}
        self._undecoded: dict[int, RequestRecords] = {}  # by partition
        self._begins: dict[TP, int] = {}
        self._ownerships = 0
        self._number = 0  # of the last collection
        self._collected_ms = now_ms()
        self._collected: dict[TP, Position] = {}  # by the last collection, also of partitions that went
        self._positions: deque[tuple[int, dict[TP, Position]]] = deque()  # of collections that are not committed
        self._cluster_id = ""
        self._saved: Saved | None = None  # by a former process; what it is good for is known with the first assignment
        self._changed = asyncio.Event()  # another one whenever a push is done
        self._collecting, self._committing = asyncio.Lock(), asyncio.Lock()

    # ---- assignment

    async def restore(self, cluster_id: str) -> None:
        """Reads the journal, before partitions are assigned. cluster_id: the Kafka cluster to which the offsets
        belong
        """
        if self._journal is not None:
            self._cluster_id = cluster_id
            self._saved = await self._journal.load(cluster_id, self.topic, self.instance)

    async def resume(self, assignment: Iterable[TP]) -> Mapping[TP, int]:
        """Forgets revoked partitions. Returns the offset from which to read each assigned one."""
        mine = {tp for tp in assignment if tp.topic == self.topic}
        for gone in set(self._partitions) - mine:
            del self._partitions[gone]
            self._undecoded.pop(gone.partition, None)
            for tenant in self._tenants.values():
                tenant.generator.forget(gone.partition)
        new = mine - set(self._partitions)
        committed = await self._committed(new)
        if self._saved is not None:
            self._adopt(self._saved, committed)
            self._saved = None
        # Numbers never go back, because they order collections.
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
        """Stores the first offset of partitions that nobody has counted yet."""
        unknown = tps - set(committed)
        self._begins = {**await self.app.consumer.earliest_offsets(*unknown)} if unknown else {}
        self._begins |= {tp: committed[tp][0] for tp in tps & set(committed)}

    async def emptied(self) -> None:
        """Forgets the partitions that it had. What the journal says stays for those that may come yet."""
        if self._partitions:
            await self.resume(())

    async def _committed(self, new: set[TP]) -> dict[TP, tuple[int, CommitMetadata | None]]:
        found = await self.app.consumer.committed(new) if new else {}
        return {tp: (offset, CommitMetadata.read(note)) for tp, (offset, note) in found.items()}

    def _beginning(self, tp: TP, committed: tuple[int, CommitMetadata | None] | None) -> Position | None:
        """The position from which to read a partition; None: it was never counted, and Kafka's default applies."""
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
        """Continues where a former process stopped, unless it committed more than the journal holds."""
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
        """The first offset of each partition that is not counted or recalled yet."""
        return self._begins | {
            tp: min(state.next_offset, state.recall_offset) for tp, state in self._partitions.items()
        }

    def waits(self) -> dict[int | None, str]:
        """Records are always taken at once."""
        return {}

    async def revoked(self, revoked: Iterable[TP]) -> None:
        """Partitions are about to be revoked. Pushes and commits what they added, if that is quick."""
        if any(tp in self._partitions for tp in revoked):
            await self.push_now(within_s=3.0)

    # ---- records

    def take(self, message: Any) -> None:
        """Counts one record of the topic."""
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
        state.clock_ms, state.read_ms = round(message.timestamp * 1000), now_ms()
        try:
            info, parts = parts_of(message)
            if info.of_requests:
                waiting = self._undecoded.setdefault(message.partition, RequestRecords())
                if waiting.add(WaitingRecord(message.offset, state.clock_ms, message.value, parts)):
                    self._decode(message.partition)
                return
            self._decode(message.partition)  # records are counted in their order
            spans = tenants_of(message)
        except BaseException as err:
            if not is_fault(err):
                raise
            DISCARDED.labels("", "unreadable_record").inc()
            log_skipped(self.topic, message.partition, message.offset, err)
            return
        self._count(message.partition, message.offset, state.clock_ms, spans)

    def _decode(self, partition: int) -> None:
        """Counts the records of a partition that wait to be decoded."""
        waiting = self._undecoded.pop(partition, None)
        for record, spans, problem in waiting.read() if waiting is not None else ():
            if problem is not None:
                DISCARDED.labels("", "unreadable_record").inc()
                log_skipped(self.topic, partition, record.offset, problem)
            self._count(partition, record.offset, record.time_ms, spans)

    def _count(self, partition: int, offset: int, time_ms: int, parts: Sequence[tuple[str, pa.RecordBatch]]) -> None:
        for tenant, spans in parts:
            try:
                self._tenant(tenant).generator.add(partition, spans, time_ms, time.time(), offset)
            except BaseException as err:
                if not is_fault(err):
                    raise
                DISCARDED.labels(tenant, "failed").inc(len(spans))
                log_skipped(self.topic, partition, offset, err)
            else:
                RECEIVED.labels(tenant).inc(len(spans))

    def _recall(self, state: Partition, message: Any) -> None:
        """Reads a record that was already counted before the start, only for its unpaired spans."""
        state.recall_offset = message.offset + 1
        try:
            for tenant, spans in tenants_of(message):
                self._tenant(tenant).generator.recall(message.partition, spans, round(message.timestamp * 1000))
        except BaseException as err:
            if not is_fault(err):
                raise
            log_skipped(self.topic, message.partition, message.offset, err)  # counted when it was read first
        if not state.recalling:
            self._recalled(state, message.partition)

    def _recalled(self, state: Partition, partition: int) -> None:
        state.recall_offset = state.next_offset
        state.clock_ms, state.read_ms = state.waited_ms, now_ms()
        for tenant in self._tenants.values():
            tenant.generator.recalled(partition, state.waited_ms)

    def _tenant(self, name: str) -> Tenant:
        found = self._tenants.get(name)
        if found is None:
            found = self._tenants[name] = Tenant.new(name, self._configs.of(name))
        return found

    # ---- pushes

    async def collect(self, *, everything: bool = False) -> None:
        """Builds a push of everything counted, for all tenants that are due, and queues it. everything: for all
        tenants
        """
        # Once begun it must come to its end: what is collected but not queued would never be pushed.
        await asyncio.shield(asyncio.ensure_future(self._collect(everything=everything)))

    async def _collect(self, *, everything: bool) -> None:
        async with self._collecting:
            if self._saved is not None:
                return  # it is not known yet what goes on
            for partition in list(self._undecoded):
                self._decode(partition)
            time_ms, created_ms = max(now_ms(), self._collected_ms + 2), self._collected_ms + 1
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
        """Saves this collection, and the pushes of earlier collections that targets may not have yet."""
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
        """Remembers the positions of the newest collection, and of older ones only those that may be committed
        alone.
        """
        self._positions.append((self._number, positions))
        if len(self._positions) > _POSITIONS_MAX:
            wanted = self._send_queues.ends() | {self._number} | self._held()
            self._positions = deque(one for one in self._positions if one[0] in wanted)

    def _held(self) -> set[int]:
        return {tenant.held.first - 1 for tenant in self._tenants.values() if tenant.held is not None}

    def _let_wait_go_on(self) -> None:
        our_ms = now_ms()
        for tp, state in self._partitions.items():
            if state.wait_until(our_ms):
                for tenant in self._tenants.values():
                    tenant.generator.idle(tp.partition, state.waited_ms)

    def _one_is_done(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _done_through(self) -> int:
        """Number of the last collection that all targets have accepted or rejected, for all tenants."""
        return min(self._send_queues.done_through(self._number), *self._held(), self._number)

    async def _commit(self) -> None:
        """Commits the offsets of collections that all targets have accepted or rejected."""
        async with self._committing:
            through, done = self._done_through(), None
            while self._positions and self._positions[0][0] <= through:
                done = self._positions.popleft()
                PUSHES.inc()
            if done is None:
                return
            number, positions = done
            # A partition that was revoked and assigned again meanwhile is read again from its commit.
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
        """Commits whenever a target finishes a push."""
        while True:
            changed = self._changed
            await self._commit()
            await changed.wait()

    async def push_now(self, within_s: float) -> None:
        """Collects, sends and commits within within_s. If it takes longer, another worker counts the spans from the
        last commit.
        """
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
        """Starts no further sends, and cancels those in flight."""
        self._send_queues.stop()
