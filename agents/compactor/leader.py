"""What the leader of the compactors does in each cycle: it looks at all tenants, deletes what is old, and plans merges.

Faust elects the leader. That there are two for a moment, or that one dies at any point, does no harm: whatever changes
an index is a compare-and-swap, and jobs that are handed out twice have one result.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from agents.compactor.audit import Audit
from agents.compactor.checkpointer import Checkpointer
from agents.compactor.job import MERGE, Job
from agents.compactor.jobs_under_way import JobsUnderWay
from agents.compactor.own_metrics import ERRORS, JOBS_QUEUED, OUTSTANDING, RETENTION_SECONDS, VISIBLE
from agents.compactor.plan import CompactionRules, plan_merges, windows_of
from agents.compactor.tenant_blocks import TenantBlocks, tenant_blocks
from agents.compactor.upkeep import Upkeep
from tables.catalog.block_list import BlockList
from tables.catalog.tenant_index import TenantIndex
from tables.errors import StorageError

log = logging.getLogger(__name__)

_FAILED_SHOWN_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class TenantRules:
    """What holds for one tenant. merges: whether its blocks are merged at all"""

    retention_s: float
    window_s: float
    merges: bool = True


@dataclass(frozen=True, slots=True)
class LeaderLimits:
    """partitions: numbers of those of the topic of spans. jobs_max: planned ahead
    settle_s: how long after a window of time its last blocks may be flushed
    poll_age_s: how old what another one of this process has polled may be; then the leader does not poll besides
    """

    partitions: Sequence[int]
    settle_s: float
    block_bytes_max: int
    inputs_min: int
    inputs_max: int
    jobs_max: int
    poll_age_s: float = 0.0


class Chores(NamedTuple):
    """What a leader does besides planning merges."""

    upkeep: Upkeep
    checkpointer: Checkpointer
    audit: Audit
    redact: Callable[[str], object] = lambda _: None  # of a tenant
    pack_filters: Callable[[str], object] = lambda _: None  # of a tenant


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A merge that is due. cost: bytes to be written for each block that there is less afterwards"""

    cost: float
    job: Job


class Leader:
    """The work of the leader, on one thread. It outlives times in which another process is the leader."""

    def __init__(
        self,
        blocks: BlockList,
        chores: Chores,
        rules_of: Callable[[str], TenantRules],
        limits: LeaderLimits,
        clock: Callable[[], float],
        show: Callable[[TenantIndex], None] = lambda _: None,
    ) -> None:
        """rules_of: of a tenant, asked in each cycle. clock: Unix seconds. show: told the visible blocks of each tenant
        in each cycle
        """
        self._blocks, self._chores, self._rules_of = blocks, chores, rules_of
        self._limits, self._clock, self._show = limits, clock, show
        self._jobs = JobsUnderWay()
        self._committed: deque[tuple[float, Mapping[int, int]]] = deque()  # each with when it was known
        self._shown: set[str] = set()
        self._upkeep_s = 0.0  # in this cycle

    def begin(self, former_ends: Mapping[int, int]) -> None:
        """Begins: the process is the leader from now on. former_ends: where each partition of the topic of jobs ends"""
        self._jobs = JobsUnderWay(dict(former_ends), self._clock())

    def sent(self, job: Job, partition: int, offset: int) -> None:
        """Notes that a job is in the topic."""
        self._jobs.sent(job, partition, offset, self._clock())

    def cycle(self, committed: Mapping[int, int]) -> list[Job]:
        """Does all that is due. Returns the jobs to hand out now, the most useful ones first.

        committed: the first offset of each partition of the topic of jobs that is not done
        Raises: StorageError if the storage is away; what concerns one tenant holds up no other
        """
        now_s = self._clock()
        self._committed.append((time.monotonic(), committed))
        committed = self._committed_at(self._blocks.poll(self._limits.partitions, self._limits.poll_age_s))
        tenants = sorted(self._blocks.tenants())
        self._jobs.forget_tenants(tenants)
        waits = self._jobs.former_left(committed, now_s)
        candidates: list[_Candidate] = []
        self._upkeep_s = 0.0
        for name in tenants:
            with _counted(f"tenant {name}: its blocks are neither merged nor deleted now"):
                candidates += self._tenant(name, committed, plans=not waits)
        RETENTION_SECONDS.observe(self._upkeep_s)
        self._forget_metrics(tenants)
        with _counted("checkpoints"):
            self._chores.checkpointer.run()
        with _counted("the audit of blocks"):
            self._chores.audit.run(tenants)
        JOBS_QUEUED.set(len(self._jobs))
        room = max(0, self._limits.jobs_max - len(self._jobs))
        return [one.job for one in sorted(candidates, key=lambda one: (one.cost, one.job.id))[:room]]

    def _committed_at(self, polled_s: float) -> Mapping[int, int]:
        """What was known to be done when a poll began: the blocks that it has read show the results of these jobs. Of
        later ones they may still show the inputs, as if the job had failed.
        """
        while len(self._committed) > 1 and self._committed[1][0] <= polled_s:
            self._committed.popleft()
        known_s, committed = self._committed[0]
        return committed if known_s <= polled_s else {}

    def _tenant(self, name: str, committed: Mapping[int, int], *, plans: bool) -> list[_Candidate]:
        rules = self._rules_of(name)
        self._chores.redact(name)
        start_s = time.perf_counter()
        self._chores.upkeep.run(name, rules.retention_s)
        self._upkeep_s += time.perf_counter() - start_s
        blocks = tenant_blocks(self._blocks, name)
        self._show(blocks.shown)
        with _counted(f"tenant {name}: filters of trace ids are not packed now"):
            self._chores.pack_filters(name)
        return self._planned(name, blocks, rules, committed) if plans else []

    def _planned(
        self, name: str, blocks: TenantBlocks, rules: TenantRules, committed: Mapping[int, int]
    ) -> list[_Candidate]:
        columns, now_s = blocks.columns(), self._clock()
        _log_failed(self._jobs.look(name, set(columns.ids), committed, now_s))
        limits = self._limits
        of_tenant = CompactionRules(
            windows=windows_of(rules.window_s, rules.retention_s),
            settle_ms=round(limits.settle_s * 1000),
            block_bytes_max=limits.block_bytes_max,
            inputs_min=limits.inputs_min,
            inputs_max=limits.inputs_max,
        )
        merges = plan_merges(columns, of_tenant, round(now_s * 1000), self._jobs.busy(name)) if rules.merges else []
        self._shown.add(name)
        VISIBLE.labels(name).set(len(columns))
        OUTSTANDING.labels(name).set(sum(map(len, merges)))
        return [
            _Candidate(
                float(columns.size_bytes[rows].sum()) / (len(rows) - 1),
                Job(MERGE, name, tuple(columns.ids[row] for row in rows)),
            )
            for rows in merges
        ]

    def _forget_metrics(self, tenants: Collection[str]) -> None:
        for gone in self._shown - set(tenants):
            self._shown.discard(gone)
            VISIBLE.remove(gone)
            OUTSTANDING.remove(gone)

    def end(self) -> None:
        """Another process is the leader from now on, and shows the metrics of tenants."""
        self._forget_metrics(())
        JOBS_QUEUED.set(0)


@contextmanager
def _counted(what: str) -> Iterator[None]:
    """Around one of several things that are done in a cycle: its failure does not hold up the others."""
    try:
        yield
    except StorageError as err:
        ERRORS.inc()
        log.error("%s: %s", what, err)
    except Exception:
        ERRORS.inc()
        log.exception("%s", what)


def _log_failed(failed: Sequence[Job]) -> None:
    for job in failed[:_FAILED_SHOWN_MAX]:
        ids = ", ".join(job.block_ids[:5]) + (", …" if len(job.block_ids) > 5 else "")
        log.error("a merge of %d blocks of tenant %s was given up: %s", len(job.block_ids), job.tenant, ids)
