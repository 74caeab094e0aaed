"""What goes wrong where Kafka has several brokers: one of them is lost, and comes back."""

import asyncio
import logging
import os
import signal
import time
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from benchmarks.soak.events import RECOVERY_S, Kind
from tests.harness.brokers import Brokers
from tests.harness.cluster import BenchError, Cluster

AWAY_S: Final = 15.0
FROZEN_S: Final = 10.0  # longer than the session of a broker: another one leads its partitions meanwhile
_POLL_S: Final = 1.0
_ASK_S: Final = 5.0


def broker_kinds(brokers: Brokers) -> dict[str, Kind]:
    """All that can happen to brokers, by the word that the command line has for it."""
    turn = _Turns(len(brokers.addresses))

    def lose(_: Cluster) -> None:
        number = turn.next()
        brokers.kill(number)
        time.sleep(AWAY_S)
        brokers.start(number)
        wait_in_sync(brokers)

    def freeze(_: Cluster) -> None:
        pid = brokers.pid(turn.next())
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_S)
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_in_sync(brokers)

    return {
        "kill-broker": Kind(f"kill -9 of a broker, back after {AWAY_S:g} s", "worker", None, AWAY_S, do=lose),
        "freeze-broker": Kind(f"SIGSTOP of a broker {FROZEN_S:g} s", "worker", None, FROZEN_S, do=freeze),
    }


class _Turns:
    """Each broker in turn: the controller and the coordinators of groups are among them."""

    def __init__(self, count: int) -> None:
        self._count, self._last = count, 0

    def next(self) -> int:
        self._last = self._last % self._count + 1
        return self._last


def wait_in_sync(brokers: Brokers) -> None:
    """Returns when every broker has all of its partitions: only then another one may be lost. Raises: BenchError"""
    deadline_s = time.monotonic() + RECOVERY_S
    while not asyncio.run(_in_sync(brokers)):
        if time.monotonic() > deadline_s:
            raise BenchError(f"brokers are not in sync after {RECOVERY_S:g} s")
        time.sleep(_POLL_S)


async def _in_sync(brokers: Brokers) -> bool:
    # Each is asked: what one says of the others may be old. That one is not there yet is no news.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        async with asyncio.timeout(_ASK_S):
            found = await asyncio.gather(*(_all_replicas_in_sync(address) for address in brokers.addresses))
    except (KafkaError, OSError, TimeoutError):
        return False
    return all(found)


async def _all_replicas_in_sync(address: str) -> bool:
    client = AIOKafkaAdminClient(bootstrap_servers=address)
    try:
        await client.start()
        topics = await client.describe_topics()
    finally:
        await client.close()
    partitions = [one for topic in topics for one in topic["partitions"]]
    return bool(partitions) and all(set(one["isr"]) == set(one["replicas"]) for one in partitions)
