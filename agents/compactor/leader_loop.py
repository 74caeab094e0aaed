"""Runs the leader's cycles in the process that Faust has elected, and writes the jobs to their topic."""

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import Any, Final

import faust
from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP

from agents.compactor.job_topic import JobSender
from agents.compactor.leader import Leader
from agents.compactor.own_metrics import ERRORS, LAST_CYCLE, LEADER
from agents.stream.stream_app import StreamApp
from tables.errors import StorageError
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)

_EXPECTED: Final = (StorageError, KafkaError, OSError, TimeoutError, NativePanic)


class LeaderLoop(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """A part of the compactor's Faust app."""

    def __init__(
        self, app: StreamApp, leader: Leader, sender: JobSender, executor: Executor, cycle_s: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._app, self._leader, self._sender = app, leader, sender
        self._executor, self._cycle_s = executor, cycle_s
        self._leads = False

    @faust.Service.task
    async def _cycles(self) -> None:
        while not self.should_stop:
            try:
                await self._cycle()
            except IllegalStateError as err:
                log.debug("no cycle: %r", err)  # partitions are being assigned
            except _EXPECTED as err:
                ERRORS.inc()
                log.warning("compaction waits for its next cycle: %s", str(err) or repr(err))
            except Exception:
                ERRORS.inc()
                log.exception("a cycle of the compactor failed")
            await self.sleep(self._cycle_s)

    async def _cycle(self) -> None:
        if not await self._is_leader():
            return
        tps = self._job_partitions()
        # Before the indexes are read: what is done by now shows in them.
        committed = {tp.partition: offset for tp, (offset, _) in (await self._app.consumer.committed(tps)).items()}
        loop = asyncio.get_running_loop()
        jobs = await loop.run_in_executor(self._executor, walled, self._leader.cycle, committed)
        for job in jobs:
            if self.should_stop or not self._app.is_leader():
                return
            self._leader.sent(job, *await self._sender.send(job))
        LAST_CYCLE.set_to_current_time()

    async def _is_leader(self) -> bool:
        leads = self._app.started and self._app.consumer.connected and self._app.is_leader()
        if leads and not self._leads:
            ends = await self._app.consumer.highwaters(*self._job_partitions())
            self._leader.begin({tp.partition: end for tp, end in ends.items()})
            log.info("this process plans the merges of blocks")
        elif self._leads and not leads:
            self._leader.end()
            log.info("another process plans the merges of blocks")
        self._leads = leads
        LEADER.set(leads)
        return bool(leads)

    def _job_partitions(self) -> Iterable[TP]:
        return [TP(self._sender.topic, number) for number in range(self._sender.partitions)]

    async def on_stop(self) -> None:
        """Closes the connection to Kafka."""
        await self._sender.stop()
