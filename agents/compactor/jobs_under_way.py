"""The jobs that the leader has handed out and that are not done, as far as the leader knows. It asks nobody."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agents.compactor.job import Job

_WAIT_FIRST_S: Final = 60.0
_WAIT_MAX_S: Final = 3600.0
# Jobs that the topic has lost, and jobs of a former leader, hold up nothing for longer than this.
_LOST_S: Final = 6 * 3600.0
_FORMER_S: Final = 900.0


@dataclass(slots=True)
class _Sent:
    """A job in the topic. wait_until_s: after it has failed, when it is planned again"""

    job: Job
    partition: int
    offset: int
    sent_s: float
    wait_until_s: float | None = None


@dataclass(slots=True)
class JobsUnderWay:
    """One for each time that a process is the leader. Times are Unix seconds.

    former_ends: where the topic ended when this process became the leader: jobs below that are of a former leader
    """

    former_ends: Mapping[int, int] = field(default_factory=dict)
    began_s: float = 0.0
    _sent: dict[str, _Sent] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(one.wait_until_s is None for one in self._sent.values())

    def sent(self, job: Job, partition: int, offset: int, now_s: float) -> None:
        """Notes a job that Kafka has acknowledged at that offset."""
        self._sent[job.id] = _Sent(job, partition, offset, now_s)

    def former_left(self, committed: Mapping[int, int], now_s: float) -> bool:
        """Whether jobs of a former leader may be under way: which these are is not known."""
        if now_s - self.began_s > _FORMER_S:
            return False
        return any(committed.get(partition, 0) < end for partition, end in self.former_ends.items())

    def busy(self, tenant: str) -> set[str]:
        """The blocks of a tenant that are inputs of jobs, or wait after a failure."""
        return {name for one in self._sent.values() if one.job.tenant == tenant for name in one.job.block_ids}

    def look(self, tenant: str, visible: Collection[str], committed: Mapping[int, int], now_s: float) -> list[Job]:
        """Forgets the jobs of a tenant that are done. Returns those that have failed now; they are busy for a while.

        visible: the tenant's visible blocks, as read after `committed`, the first offset of each partition of the topic
        that is not done
        """
        failed = []
        for name, one in list(self._sent.items()):
            if one.job.tenant != tenant:
                continue
            if any(block_id not in visible for block_id in one.job.block_ids):
                del self._sent[name]  # merged, or removed
                self._failures.pop(name, None)
            elif one.wait_until_s is not None:
                if one.wait_until_s <= now_s:
                    del self._sent[name]
            elif committed.get(one.partition, 0) > one.offset:
                count = self._failures[name] = self._failures.get(name, 0) + 1
                one.wait_until_s = now_s + min(_WAIT_MAX_S, _WAIT_FIRST_S * 2 ** (count - 1))
                failed.append(one.job)
            elif now_s - one.sent_s > _LOST_S:
                del self._sent[name]
        return failed

    def forget_tenants(self, tenants: Iterable[str]) -> None:
        """Forgets the jobs of tenants that have no blocks any more."""
        left = set(tenants)
        self._sent = {name: one for name, one in self._sent.items() if one.job.tenant in left}
