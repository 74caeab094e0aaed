"""Jobs wait for queriers: a queue for each tenant, fair between tenants; queriers fetch jobs when they have time.

A job goes to the querier that comes first for its key (rendezvous hashing), so that caches hit, whoever comes or goes.
If that one has no time for a while, any other takes it. A job that fails is tried elsewhere; one that takes long is
given to a second querier, and the first answer counts. Who is not needed any more is told so.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import Counter, Gauge, Histogram

from app.api.errors import TooManyRequests, Unavailable
from app.rpc.frames import RpcFrame
from tables.native_histogram import NativeHistogram
from tables.tenant_labels import TenantLabels

log = logging.getLogger(__name__)

QUEUED: Final = Gauge("stretto_query_frontend_jobs_queued", "Jobs that wait for a querier.")
RUNNING: Final = Gauge("stretto_query_frontend_jobs_running", "Jobs that queriers work on.")
QUERIERS: Final = Gauge("stretto_query_frontend_querier_slots", "Jobs that connected queriers would take at once.")
DISCARDED: Final = Counter(
    "stretto_query_frontend_jobs_discarded_total", "Jobs refused because their tenant has too many outstanding."
)
JOBS: Final = Counter(
    "stretto_query_frontend_jobs_total",
    "Jobs given to queriers, by how: preferred (the one whose caches have the blocks), other, retry, hedge.",
    ["how"],
)
WAITED: Final = Histogram(
    "stretto_query_frontend_queue_seconds",
    "Time from a job's arrival in the queue until a querier takes it.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60),
)

TEMPO_LENGTH: Final = Gauge("tempo_query_frontend_queue_length", "Jobs that wait for a querier, by tenant.", ["user"])
TEMPO_WAITED: Final = NativeHistogram(
    "tempo_query_frontend_queue_duration_seconds",
    "Time from a job's arrival in the queue until a querier takes it.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
TEMPO_CLIENTS: Final = Gauge("tempo_query_frontend_connected_clients", "Slots of connected queriers.")
TEMPO_DISCARDED: Final = Counter(
    "tempo_query_frontend_discarded_requests_total",
    "Jobs refused because their tenant has too many outstanding.",
    ["user"],
)
TEMPO_RETRIES: Final = Histogram(
    "tempo_query_frontend_retries", "How often a job was tried again.", buckets=(0, 1, 2, 3, 4, 5)
)

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
# So many jobs of a tenant are looked at for one whose querier has time.
_LOOKED_AT: Final = 256


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """outstanding_max: jobs of a tenant that wait or run. steal_after_s: how long a job waits for its own querier
    hedge_at_s: how long a job runs before one more querier gets it, too; 0: never. hedge_up_to: how many may have it
    retries_max: of a job that failed. querier_wait_s: how long jobs wait where no querier is connected
    """

    outstanding_max: int = 2000
    steal_after_s: float = 0.05
    hedge_at_s: float = 2.0
    hedge_up_to: int = 2
    retries_max: int = 2
    querier_wait_s: float = 5.0


@dataclass(eq=False, slots=True)
class Attempt:
    """A job in the hands of a querier, or on the way there. abandoned: nobody waits for it any more"""

    job: "QueuedJob"
    how: str
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    queued_s: float = field(default_factory=time.monotonic)
    querier: str = ""

    @property
    def frame(self) -> RpcFrame:
        """What the querier is asked."""
        return self.job.frame


@dataclass(eq=False, slots=True)
class QueuedJob:
    """key: jobs with the same key go to the same querier, if it has time"""

    tenant: str
    key: str
    frame: RpcFrame
    result: "asyncio.Future[RpcFrame]"
    failures: int = 0
    tried: set[str] = field(default_factory=set)
    attempts: list[Attempt] = field(default_factory=list)
    hedge: asyncio.TimerHandle | None = None
    hedges: int = 0

    @property
    def hash(self) -> np.uint64:
        """Of the key."""
        return _hash(self.key)


@dataclass(eq=False, slots=True)
class _Slot:
    querier: str
    taken: "asyncio.Future[Attempt]"


class JobQueue:
    """One for a process; belongs to its event loop."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._waiting: OrderedDict[str, deque[Attempt]] = OrderedDict()  # by tenant, the next one first
        self._outstanding: dict[str, int] = {}
        self._idle: list[_Slot] = []
        self._connected: dict[str, int] = {}  # slots by querier
        self._hashes: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._names: list[str] = []
        self._labels = TenantLabels()
        self._timer: asyncio.TimerHandle | None = None

    # ---- those who ask

    async def run(self, tenant: str, key: str, frame: RpcFrame) -> RpcFrame:
        """What a querier answers. Raises: TooManyRequests, Unavailable, and what the querier raised"""
        limits = self._limits
        if self._outstanding.get(tenant, 0) >= limits.outstanding_max:
            DISCARDED.inc()
            TEMPO_DISCARDED.labels(self._labels.of(tenant)).inc()
            raise TooManyRequests(
                f"tenant {tenant} has {limits.outstanding_max} jobs outstanding "
                "(query_frontend.max_outstanding_per_tenant); ask again later, or for less"
            )
        job = QueuedJob(tenant, key, frame, asyncio.get_running_loop().create_future())
        self._outstanding[tenant] = self._outstanding.get(tenant, 0) + 1
        try:
            self._enqueue(job, "first")
            return await job.result
        finally:
            self._outstanding[tenant] -= 1
            if not self._outstanding[tenant]:
                del self._outstanding[tenant]
            TEMPO_RETRIES.observe(job.failures)
            self._give_up(job)

    def has_queriers(self, *, besides: str) -> bool:
        """Whether another querier than that one is connected."""
        return any(name != besides for name in self._connected)

    def slots_of(self, querier: str) -> int:
        """How many jobs a querier would take at once."""
        return self._connected.get(querier, 0)

    def _enqueue(self, job: QueuedJob, how: str) -> None:
        attempt = Attempt(job, how)
        job.attempts.append(attempt)
        self._waiting.setdefault(job.tenant, deque()).append(attempt)
        QUEUED.inc()
        TEMPO_LENGTH.labels(self._labels.of(job.tenant)).inc()
        self._dispatch()

    def _give_up(self, job: QueuedJob) -> None:
        if job.hedge is not None:
            job.hedge.cancel()
        for attempt in job.attempts:
            attempt.abandoned.set()
            waiting = self._waiting.get(job.tenant)
            if waiting is not None and attempt in waiting:
                self._take_out(job.tenant, waiting, attempt)

    # ---- queriers

    @contextmanager
    def connected(self, querier: str) -> Iterator[None]:
        """While a slot of a querier is there: it takes a job at a time."""
        self._connected[querier] = self._connected.get(querier, 0) + 1
        QUERIERS.inc()
        TEMPO_CLIENTS.inc()
        self._rehash()
        try:
            yield
        finally:
            QUERIERS.dec()
            TEMPO_CLIENTS.dec()
            self._connected[querier] -= 1
            if not self._connected[querier]:
                del self._connected[querier]
                self._rehash()

    async def next(self, querier: str) -> Attempt:
        """The next job for a slot; then one of `finish` and `fail` must be called."""
        slot = _Slot(querier, asyncio.get_running_loop().create_future())
        self._idle.append(slot)
        self._dispatch()
        try:
            return await slot.taken
        except asyncio.CancelledError:
            if slot.taken.done() and not slot.taken.cancelled():  # at the same moment
                self.fail(slot.taken.result(), Unavailable(f"querier {querier} went away"))
            raise
        finally:
            if slot in self._idle:
                self._idle.remove(slot)

    def finish(self, attempt: Attempt, reply: RpcFrame) -> None:
        """The querier has answered."""
        self._ended(attempt)
        if not attempt.job.result.done():
            attempt.job.result.set_result(reply)

    def fail(self, attempt: Attempt, err: Exception, *, elsewhere: bool = True) -> None:
        """The querier could not answer. elsewhere: whether another one may"""
        self._ended(attempt)
        job = attempt.job
        if job.result.done():
            return
        job.failures += 1
        if elsewhere and job.failures <= self._limits.retries_max:
            log.info("a job of querier %s is tried elsewhere: %r", attempt.querier, err)
            self._enqueue(job, "retry")
        elif not any(each.querier for each in job.attempts):  # else the other one may answer
            job.result.set_exception(err)

    def abandon(self, attempt: Attempt) -> None:
        """The querier has been told that nobody needs the answer."""
        self._ended(attempt)

    def _ended(self, attempt: Attempt) -> None:
        if attempt in attempt.job.attempts:
            attempt.job.attempts.remove(attempt)
            RUNNING.dec()

    # ---- who gets what

    def _dispatch(self) -> None:
        """Gives jobs to idle slots: of each tenant one, again and again."""
        now_s, given = time.monotonic(), True
        while given and self._idle and self._waiting:
            given = False
            for tenant in list(self._waiting):
                given |= self._dispatch_one(tenant, now_s)
        self._look_again()

    def _dispatch_one(self, tenant: str, now_s: float) -> bool:
        waiting = self._waiting.get(tenant)
        if not waiting or not self._idle:
            return False
        for number, attempt in enumerate(waiting):
            if number == _LOOKED_AT:
                break
            slot = self._slot_for(attempt, now_s)
            if slot is not None:
                self._take_out(tenant, waiting, attempt)
                if tenant in self._waiting:
                    self._waiting.move_to_end(tenant)
                self._begin(attempt, slot, now_s)
                return True
        return False

    def _slot_for(self, attempt: Attempt, now_s: float) -> _Slot | None:
        job = attempt.job
        # Whoever waited in a slot may have been cancelled, and has not come to say so yet.
        idle = [slot for slot in self._idle if not slot.taken.done()]
        untried = [slot for slot in idle if slot.querier not in job.tried]
        preferred = self._preferred(job)
        for slot in untried:
            if slot.querier == preferred:
                return slot
        may_steal = now_s - attempt.queued_s >= self._limits.steal_after_s or preferred in job.tried
        if untried and may_steal:
            return untried[0]
        # All have tried: again, whoever it is.
        if idle and job.tried.issuperset(self._connected) and attempt.how != "hedge":
            return idle[0]
        return None

    def _begin(self, attempt: Attempt, slot: _Slot, now_s: float) -> None:
        job = attempt.job
        attempt.querier = slot.querier
        job.tried.add(slot.querier)
        first = "preferred" if slot.querier == self._preferred(job) else "other"
        JOBS.labels(first if attempt.how == "first" else attempt.how).inc()
        WAITED.observe(now_s - attempt.queued_s)
        TEMPO_WAITED.observe(now_s - attempt.queued_s)
        RUNNING.inc()
        self._idle.remove(slot)
        slot.taken.set_result(attempt)
        if self._limits.hedge_at_s and job.hedge is None:
            self._hedge_later(job)

    def _hedge_later(self, job: QueuedJob) -> None:
        job.hedge = asyncio.get_running_loop().call_later(self._limits.hedge_at_s, self._hedge, job)

    def _hedge(self, job: QueuedJob) -> None:
        if job.result.done():
            return
        # One that waits for a querier is enough, and no querier needs the job twice.
        if all(each.querier for each in job.attempts) and self._connected.keys() - job.tried:
            job.hedges += 1
            self._enqueue(job, "hedge")
        if job.hedges + 1 < self._limits.hedge_up_to:
            self._hedge_later(job)

    def _take_out(self, tenant: str, waiting: deque[Attempt], attempt: Attempt) -> None:
        waiting.remove(attempt)
        QUEUED.dec()
        TEMPO_LENGTH.labels(self._labels.of(tenant)).dec()
        if not waiting:
            del self._waiting[tenant]

    def _look_again(self) -> None:
        """When the job that waits longest may go to another querier, or has waited too long for any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        if not self._connected:
            self._timer = asyncio.get_running_loop().call_later(self._limits.querier_wait_s / 10, self._expire)
        elif self._idle:
            self._timer = asyncio.get_running_loop().call_later(self._limits.steal_after_s, self._dispatch)

    def _expire(self) -> None:
        oldest_s = time.monotonic() - self._limits.querier_wait_s
        for waiting in list(self._waiting.values()):
            for attempt in [one for one in waiting if one.queued_s < oldest_s]:
                if not attempt.job.result.done():
                    attempt.job.result.set_exception(Unavailable("no querier is connected to this query frontend"))
        self._dispatch()

    def _preferred(self, job: QueuedJob) -> str:
        """The querier that comes first for the job's key; "" where there is none."""
        if not self._names:
            return ""
        with np.errstate(over="ignore"):
            mixed = (self._hashes ^ job.hash) * _MIX
            mixed ^= mixed >> np.uint64(29)
        return self._names[int(np.argmax(mixed * _MIX))]

    def _rehash(self) -> None:
        self._names = sorted(self._connected)
        self._hashes = np.array([_hash(name) for name in self._names], np.uint64)
        self._dispatch()


def _hash(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))
