"""One partition of the live store: which records it holds, and where they are cut into segments and blocks.

A state machine without its own clock, threads or files. `append` and `tick` return jobs, in order; whoever runs a job
reports back with `sealed` or `flushed`. Cut points follow from the records alone (their offsets, row counts and the
broker's timestamps), so that a replica, or the same worker after a crash, cuts the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tables.live.head import Head
from tables.live.partition_jobs import FlushJob, Job, MarkJob, SealJob
from tables.live.segment_table import SegmentInfo
from tables.live.shared_records import HeadRecord, SharedRecords
from tables.wire.split import SEVERAL

# The broker's timestamps and this process's clock may differ by this much before idle windows are cut too early;
# cutting early is harmless for the answers, it only makes other segments than a replica's.
_IDLE_GRACE_MS = 2_000


@dataclass(frozen=True, slots=True)
class CutPolicy:
    """When records are sealed and flushed.

    A segment costs some 10 ms, however small it is. So in a partition with more than many_heads heads, a head with
    fewer than small_head_spans spans is not sealed at the end of a window. It waits for the block, or until it has more
    spans.
    """

    partitions: int
    segment_rows_max: int = 65_536
    segment_bytes_max: int = 16 << 20  # of records, compressed: usual spans reach the rows first
    segment_decoded_bytes_max: int = 256 << 20  # of records, decompressed: what a seal may take in memory
    segment_age_ms: int = 30_000
    block_rows_max: int = 2_000_000
    block_age_ms: int = 300_000
    attribute_columns_max: int = 300
    head_reuse_s: float = 0.0  # see `Head`
    many_heads: int = 16
    small_head_spans: int = 2_000

    def is_full(self, head: Head) -> bool:
        """Whether a head must be sealed, regardless of the time."""
        return (
            head.spans >= self.segment_rows_max
            or head.bytes >= self.segment_bytes_max
            or head.decoded_bytes >= self.segment_decoded_bytes_max
        )

    def window(self, timestamp_ms: int, partition: int, age_ms: int) -> int:
        """Number of the time window. Windows of the partitions are staggered, so that they are not sealed at once."""
        return (timestamp_ms + partition * age_ms // self.partitions) // age_ms

    def window_end_ms(self, window: int, partition: int, age_ms: int) -> int:
        """First timestamp after the window."""
        return (window + 1) * age_ms - partition * age_ms // self.partitions


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record of the topic, split into the parts of its tenants."""

    offset: int
    timestamp_ms: int
    parts: Sequence[tuple[str, HeadRecord]]
    partition_count: int = 0  # among how many partitions the writer has split the traces; 0: it does not say


@dataclass(eq=False, slots=True)
class _OpenHead:
    head: Head
    first_timestamp_ms: int
    last_timestamp_ms: int
    partition_count: int


@dataclass(eq=False, slots=True)
class LivePartition:
    """The state of a partition that this process owns.

    flushed_offset: as of this partition's last flush; next_offset: of the next record
    retained: segments that are in blocks, and still here for readers that do not know these blocks yet
    retained_from: of every record from here on that is in blocks, the segments are in `retained`
    """

    partition: int
    policy: CutPolicy
    flushed_offset: int
    next_offset: int
    segments: list[SegmentInfo] = field(default_factory=list)
    sealing: list[SealJob] = field(default_factory=list)
    retained: list[SegmentInfo] = field(default_factory=list)
    retained_from: int = 0
    # Whether this process must stop working on it: the partition went to another worker, or was reopened.
    closed: bool = False
    _heads: dict[str, _OpenHead] = field(default_factory=dict)
    _sealed_until: dict[str, int] = field(default_factory=dict)
    _window: int | None = None
    _block_window: int | None = None
    _block_rows: int = 0
    _cut_until: int = 0  # offsets below are in a flush job
    _head_spans: int = 0
    _head_bytes: int = 0
    _holders: dict[int, int] = field(default_factory=dict)  # of each shared record: in how many open heads it is

    @classmethod
    def open(
        cls, partition: int, policy: CutPolicy, flushed_offset: int, segments: Iterable[SegmentInfo], sealed_offset: int
    ) -> "LivePartition":
        """A partition that resumes from local segments. In: those that reach above `flushed_offset`; none may cross
        it
        """
        kept = sorted(segments, key=lambda s: (s.first_offset, s.tenant))
        # Without a sealed offset above it nothing is known to be sealed for every tenant.
        resume = max(flushed_offset, sealed_offset)
        # Nor may the next cut come into the middle of a segment: other tenants' heads may have held the sealed offset
        # back.
        for segment in reversed(kept):
            if segment.first_offset < resume <= segment.last_offset:
                resume = segment.first_offset
        opened = cls(
            partition,
            policy,
            flushed_offset,
            resume,
            segments=kept,
            retained_from=flushed_offset,
            _cut_until=flushed_offset,
        )
        for segment in kept:
            end = max(segment.last_offset + 1, opened._sealed_until.get(segment.tenant, 0))
            opened._sealed_until[segment.tenant] = end
            if segment.last_offset < resume:
                opened._block_rows += segment.spans
        if kept:
            opened._block_window = opened._window_of(kept[0].first_timestamp_ms, policy.block_age_ms)
        return opened

    @property
    def pending_spans(self) -> int:
        """Number of spans in closed heads that wait to be sealed."""
        return sum(job.head.spans for job in self.sealing)

    @property
    def head_spans(self) -> int:
        """Number of spans in open heads."""
        return self._head_spans

    @property
    def head_bytes(self) -> int:
        """Bytes of the records in open heads; a shared record counts whole while any head holds it."""
        return self._head_bytes

    def bytes_by_tenant(self) -> list[tuple[str, int]]:
        """Of each tenant with an open head, the bytes of its records there."""
        return [(tenant, opened.head.bytes) for tenant, opened in self._heads.items()]

    @property
    def segment_bytes(self) -> int:
        """Bytes of segments that are not in blocks yet."""
        return sum(segment.size_bytes for segment in self.segments)

    @property
    def oldest_unflushed_ms(self) -> int | None:
        """The broker's timestamp of the oldest record here that is in no block yet; None: there is none."""
        unflushed: list[SegmentInfo | SealJob | _OpenHead] = [*self.segments, *self.sealing, *self._heads.values()]
        return min((one.first_timestamp_ms for one in unflushed), default=None)

    def append(self, incoming: Incoming) -> list[Job]:
        """Adds the record at `next_offset`. It ignores a redelivered one (below it)."""
        offset, timestamp_ms = incoming.offset, incoming.timestamp_ms
        if offset < self.next_offset:
            return []
        jobs = self._cuts_before(timestamp_ms)
        self.next_offset = offset + 1
        self._block_rows += sum(item.spans for _, item in incoming.parts)
        if self._window is None:
            self._window = self._window_of(timestamp_ms, self.policy.segment_age_ms)
        if self._block_window is None:
            self._block_window = self._window_of(timestamp_ms, self.policy.block_age_ms)
        full: list[str] = []
        holders = 0
        partition_count = incoming.partition_count or self.policy.partitions
        for tenant, item in incoming.parts:
            if offset < self._sealed_until.get(tenant, 0):
                continue  # in a local segment already
            head = self._head(tenant, timestamp_ms, partition_count)
            head.append(item)
            holders += 1
            self._head_spans += item.spans
            if self.policy.is_full(head):
                full.append(tenant)
        if holders:
            item = incoming.parts[0][1]
            self._head_bytes += len(item.value)
            if item.shared_spans:
                self._holders[offset] = holders
        return jobs + self._seal(full) if full else jobs

    def _head(self, tenant: str, timestamp_ms: int, partition_count: int) -> Head:
        opened = self._heads.get(tenant)
        if opened is None:
            opened = self._heads[tenant] = _OpenHead(self._new_head(), timestamp_ms, timestamp_ms, partition_count)
        if opened.partition_count != partition_count:
            opened.partition_count = SEVERAL
        if timestamp_ms > opened.last_timestamp_ms:
            opened.last_timestamp_ms = timestamp_ms
        return opened.head

    def _new_head(self) -> Head:
        return Head(self.policy.attribute_columns_max, self.policy.head_reuse_s)

    def skip(self, offset: int) -> None:
        """Skips a record that cannot be read."""
        self.next_offset = max(self.next_offset, offset + 1)

    def tick(self, now_ms: int) -> list[Job]:
        """Cuts windows that have ended without new records."""
        policy, partition = self.policy, self.partition
        jobs: list[Job] = []
        if self._window is not None:
            end = policy.window_end_ms(self._window, partition, policy.segment_age_ms)
            if now_ms > end + _IDLE_GRACE_MS:
                jobs += self._seal_window()
        if self._block_window is not None:
            end = policy.window_end_ms(self._block_window, partition, policy.block_age_ms)
            if now_ms > end + _IDLE_GRACE_MS and not self._inside_a_segment():
                jobs += self._flush()
        return jobs

    def seal_all(self) -> list[Job]:
        """Seals every tenant's head, whatever its size."""
        return self._seal_and_mark(sorted(self._heads))

    def _seal_window(self) -> list[Job]:
        """Seals the heads at the end of a window; if there are many heads, not the small ones."""
        if len(self._heads) <= self.policy.many_heads:
            return self.seal_all()
        grown = [t for t, opened in self._heads.items() if opened.head.spans >= self.policy.small_head_spans]
        return self._seal_and_mark(sorted(grown))

    def _seal_and_mark(self, tenants: list[str]) -> list[Job]:
        jobs = self._seal(tenants)
        self._window = None
        unsealed = [opened.head.records[0].offset for opened in self._heads.values()]
        return [*jobs, MarkJob(min(unsealed, default=self.next_offset))]

    def sealed(self, job: SealJob, info: SegmentInfo | None) -> None:
        """A seal job is done. info: None if none of its records was readable"""
        self.sealing.remove(job)
        if info is not None:
            self.segments.append(info)

    def record_counts(self) -> set[int]:
        """Among how many partitions the writers of the live records have split the traces; see `split.places_of`."""
        # Each query asks each partition, of which most have little or nothing.
        counts: set[int] = set()
        for segments in (self.retained, self.segments):
            for segment in segments:
                counts.add(self.segment_count(segment))
        for job in self.sealing:
            counts.add(job.partition_count)
        for opened in self._heads.values():
            counts.add(opened.partition_count)
        return counts

    def segment_count(self, segment: SegmentInfo) -> int:
        """The partition count of a segment. Earlier versions did not note it: then there was but one."""
        return self.policy.partitions if segment.partition_count is None else segment.partition_count

    def to_flush(self, job: FlushJob) -> list[SegmentInfo]:
        """The segments that a flush job writes, by tenant and offset."""
        inside = [s for s in self.segments if job.first_offset <= s.first_offset <= job.last_offset]
        return sorted(inside, key=lambda s: (s.tenant, s.first_offset))

    def flushed(self, job: FlushJob) -> list[SegmentInfo]:
        """A flush job is done: the blocks are visible. Returns the segments that are no longer needed here."""
        self.flushed_offset = job.last_offset + 1
        done = [s for s in self.segments if s.first_offset < self.flushed_offset]
        self.segments = [s for s in self.segments if s.first_offset >= self.flushed_offset]
        self.retained += done
        return done

    def retire(self, until_offset: int) -> None:
        """The segments below the offset that are in blocks are about to be deleted. In: the end of a flushed cut"""
        self.retained_from = max(self.retained_from, min(until_offset, self.flushed_offset))
        self.retained = [s for s in self.retained if s.first_offset >= self.retained_from]

    def holds_from(self, flushed_offset: int) -> bool:
        """Whether everything that was taken at this offset or later is here. What is in blocks already is, for a
        while.
        """
        if flushed_offset < self.retained_from:
            return False
        return not any(s.first_offset < flushed_offset <= s.last_offset for s in self.retained)

    def fits(self, flushed_offset: int) -> bool:
        """Whether live data can be cut at this offset. If not, another worker has cut the partition here, late."""
        for job in self.sealing:
            if job.head.records[0].offset < flushed_offset:
                return False
        for opened in self._heads.values():
            if opened.head.records[0].offset < flushed_offset:
                return False
        for segment in self.segments:  # noqa: SIM110  # as above: a generator takes longer than most loops here
            if segment.first_offset < flushed_offset <= segment.last_offset:
                return False
        return True

    def live(self, flushed_offset: int, tenant: str) -> "LiveView":
        """The tenant's live data at offsets ≥ flushed_offset."""
        here = [*self.retained, *self.segments] if flushed_offset < self.flushed_offset else self.segments
        segments = [s for s in here if s.tenant == tenant and s.first_offset >= flushed_offset] if here else []
        heads = [(job.head, len(job.head.records)) for job in self.sealing if job.tenant == tenant]
        opened = self._heads.get(tenant)
        if opened is not None:
            heads.append((opened.head, len(opened.head.records)))
        return LiveView(segments, heads)

    def _window_of(self, timestamp_ms: int, age_ms: int) -> int:
        return self.policy.window(timestamp_ms, self.partition, age_ms)

    def _cuts_before(self, timestamp_ms: int) -> list[Job]:
        """The cuts that are due before a record with this timestamp."""
        policy = self.policy
        new_block = self._block_window is not None and (
            self._window_of(timestamp_ms, policy.block_age_ms) != self._block_window
            or self._block_rows >= policy.block_rows_max
        )
        if new_block and not self._inside_a_segment():
            return self.seal_all() + self._flush()
        if self._window is not None and self._window_of(timestamp_ms, policy.segment_age_ms) != self._window:
            return self._seal_window()
        return []

    def _inside_a_segment(self) -> bool:
        """Whether a segment from before the start reaches beyond the next record; then no block may end here."""
        return any(s.first_offset < self.next_offset <= s.last_offset for s in self.segments)

    def _seal(self, tenants: Sequence[str]) -> list[Job]:
        opened = [self._heads.pop(tenant) for tenant in tenants]
        shared = SharedRecords([one.head.records for one in opened])
        jobs = [
            SealJob(tenant, one.head, one.first_timestamp_ms, one.last_timestamp_ms, shared, one.partition_count)
            for tenant, one in zip(tenants, opened, strict=True)
        ]
        self.sealing += jobs
        self._head_spans -= sum(one.head.spans for one in opened)
        if not self._heads:
            self._head_bytes = 0
            self._holders.clear()
            return [*jobs]
        for one in opened:
            for item in one.head.records:
                self._let_go(item)
        return [*jobs]

    def _let_go(self, item: HeadRecord) -> None:
        if item.shared_spans:
            self._holders[item.offset] -= 1
            if self._holders[item.offset]:
                return
            del self._holders[item.offset]
        self._head_bytes -= len(item.value)

    def _flush(self) -> list[Job]:
        self._block_window, self._block_rows = None, 0
        sealing_first = self.seal_all() if self._heads else []
        if self.next_offset <= self._cut_until:
            return sealing_first
        job = FlushJob(self._cut_until, self.next_offset - 1)
        self._cut_until = self.next_offset
        return [*sealing_first, job]


@dataclass(frozen=True, slots=True)
class LiveView:
    """A tenant's live data in one partition at one moment: segments, and heads with the number of records of each."""

    segments: list[SegmentInfo]
    heads: list[tuple[Head, int]]
