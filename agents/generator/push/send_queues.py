"""Queues of pushes. Each target has one queue per tenant, so that a slow target or tenant delays no other."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from prometheus_client import Counter, Gauge

from agents.generator.push.push import Push, folded
from tables.wall import is_fault

log = logging.getLogger(__name__)

MERGED = Counter(
    "tempo_metrics_generator_remote_write_pushes_merged_total",
    "Pushes merged with the next one because too many were waiting. Series lack a point, but no increase is lost.",
    ["target", "tenant"],
)
QUEUED = Gauge(
    "tempo_metrics_generator_remote_write_queued_pushes",
    "Pushes in the queue, including the one in flight.",
    ["target", "tenant"],
)
QUEUED_BYTES = Gauge(
    "tempo_metrics_generator_remote_write_queued_bytes", "Approximate bytes of the pushes in all queues."
)

_AFTER_A_FAULT_S: Final = 5.0


class PushTarget(Protocol):
    """A receiver of pushes. pushes_max: how many pushes of a tenant may wait"""

    name: str
    pushes_max: int

    async def send(self, tenant: str, push: Push) -> None:
        """Returns when the target has accepted the push, or rejected it for good."""


# Unfinished pushes, by target name and tenant.
Backlog = Mapping[tuple[str, str], Sequence[Push]]


class _SendQueue:
    """A target's queue of one tenant. The first push is in flight while `task` runs."""

    def __init__(self, target: PushTarget, tenant: str) -> None:
        self.target, self.tenant = target, tenant
        self.pushes: deque[Push] = deque()
        self.task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> int:
        """Pushes that the target may have received already; they must not change."""
        return 1 if self.task is not None and self.pushes else 0

    def merge_oldest(self) -> bool:
        """Merges the two oldest waiting pushes. False: fewer than two wait."""
        first = self.under_way
        if len(self.pushes) < first + 2:
            return False
        self.pushes[first + 1] = folded(self.pushes[first], self.pushes[first + 1])
        del self.pushes[first]
        MERGED.labels(self.target.name, self.tenant).inc()
        return True

    def export_size(self) -> None:
        QUEUED.labels(self.target.name, self.tenant).set(len(self.pushes))


class SendQueues:
    """All queues. on_done: called when a target has accepted or rejected a push"""

    def __init__(self, targets: Sequence[PushTarget], bytes_max: int, on_done: Callable[[], None]) -> None:
        self._targets, self._bytes_max, self._on_done = list(targets), bytes_max, on_done
        self._queues: dict[tuple[str, str], _SendQueue] = {}

    def put(self, tenant: str, push: Push) -> None:
        """Queues a push to all targets."""
        if push.says_nothing:
            return
        for target in self._targets:
            queue = self._queue(target, tenant)
            queue.pushes.append(push)
            if len(queue.pushes) - queue.under_way > target.pushes_max:
                queue.merge_oldest()
            self._start(queue)

    def put_back(self, backlog: Backlog) -> None:
        """Queues the pushes that a former process did not finish. It drops pushes for targets that no longer exist."""
        targets = {target.name: target for target in self._targets}
        for (name, tenant), pushes in backlog.items():
            if name in targets:
                queue = self._queue(targets[name], tenant)
                queue.pushes.extend(pushes)
                self._start(queue)

    def keep_to_bytes_max(self) -> None:
        """Merges waiting pushes, the longest queue first, until they fit or nothing is left to merge."""
        size_bytes = self._size_bytes()
        while size_bytes > self._bytes_max:
            longest = max(self._queues.values(), key=lambda queue: len(queue.pushes) - queue.under_way)
            if not longest.merge_oldest():
                break
            longest.export_size()
            size_bytes = self._size_bytes()
        QUEUED_BYTES.set(size_bytes)

    def _size_bytes(self) -> int:
        # Targets share a push.
        return sum({id(push): push.size_bytes for queue in self._queues.values() for push in queue.pushes}.values())

    def backlog(self) -> tuple[Backlog, set[tuple[str, str]]]:
        """The pushes in the queues, and the queues whose first push is in flight."""
        waiting = {key: tuple(queue.pushes) for key, queue in self._queues.items() if queue.pushes}
        return waiting, {key for key in waiting if self._queues[key].under_way}

    def done_through(self, newest: int) -> int:
        """Number of the last collection that all targets have accepted or rejected. newest: number of the last one that
        was queued
        """
        return min((queue.pushes[0].first - 1 for queue in self._queues.values() if queue.pushes), default=newest)

    def ends(self) -> set[int]:
        """Numbers that `done_through` may return later, besides the newest."""
        return {push.first - 1 for queue in self._queues.values() for push in queue.pushes}

    def clear(self) -> None:
        """Drops all queued pushes."""
        self.stop()
        self._queues.clear()

    def stop(self) -> None:
        """Starts no further sends, and cancels those in flight."""
        for queue in self._queues.values():
            if queue.task is not None:
                queue.task.cancel()

    def _queue(self, target: PushTarget, tenant: str) -> _SendQueue:
        key = (target.name, tenant)
        if key not in self._queues:
            self._queues[key] = _SendQueue(target, tenant)
        return self._queues[key]

    def _start(self, queue: _SendQueue) -> None:
        queue.export_size()
        if queue.task is None:
            queue.task = asyncio.create_task(self._send(queue), name=f"push to {queue.target.name}")

    async def _send(self, queue: _SendQueue) -> None:
        """Sends the pushes of a queue, the oldest first."""
        try:
            while queue.pushes:
                await self._send_one(queue)
                queue.pushes.popleft()
                queue.export_size()
                self._on_done()
        finally:
            queue.task = None

    async def _send_one(self, queue: _SendQueue) -> None:
        while True:
            try:
                await queue.target.send(queue.tenant, queue.pushes[0])
            except BaseException as err:  # a fault of ours must neither end the queue nor lose the push
                if not is_fault(err):
                    raise
                log.exception("a push to %s failed, again in %.0f s", queue.target.name, _AFTER_A_FAULT_S)
                await asyncio.sleep(_AFTER_A_FAULT_S)
            else:
                return


def merged_backlog(backlog: Backlog, under_way: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[Push]]:
    """At most two pushes per queue: the one in flight, unchanged, and all others merged into one."""
    busy, out = set(under_way), {}
    for key, pushes in backlog.items():
        waiting = list(pushes)
        while len(waiting) > 1 + (key in busy):
            waiting[-2:] = [folded(*waiting[-2:])]
        out[key] = waiting
    return out
