"""The check `clock`: this machine's time against that of Kafka's brokers and of the object storage."""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from agents.members.topic import topic_of
from agents.stream.kafka_client import KafkaClient
from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.cli.doctor.kafka import client_of
from app.process.storage import storage_config
from app.settings import Settings
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore
from tables.wall import walled

_REQUEST_MS: Final = 5_000
_KAFKA_WARN_S, _KAFKA_WRONG_S = 2.0, 30.0
# S3 refuses requests whose time differs by 15 minutes. Times of objects are whole seconds.
_STORAGE_WARN_S, _STORAGE_WRONG_S = 30.0, 300.0


@dataclass(frozen=True, slots=True)
class Skew:
    """ahead_s: seconds that this machine's clock is ahead of the other, at most; None: not known"""

    of: str
    ahead_s: float | None
    warn_s: float
    wrong_s: float


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """Compares the clocks."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return [judged(_of_kafka(here)), judged(_of_storage(here.settings))]


def judged(skew: Skew) -> Diagnosis:
    """The verdict on a difference."""
    if skew.ahead_s is None:
        return ok(skew.of, "could not be compared now")
    text = f"this clock is {abs(skew.ahead_s):.1f} s {'ahead' if skew.ahead_s > 0 else 'behind'}"
    advice = "let an NTP service (chrony, systemd-timesyncd) set the clocks of all machines"
    if abs(skew.ahead_s) > skew.wrong_s:
        return wrong(skew.of, f"{text}: spans seem to come from another time, and requests may be refused", advice)
    if abs(skew.ahead_s) > skew.warn_s:
        return warning(skew.of, text, advice)
    return ok(skew.of, f"agrees within {max(abs(skew.ahead_s), 0.1):.1f} s")


def _of_kafka(here: Surroundings) -> Skew:
    members = here.settings.members
    try:
        ahead_s = asyncio.run(
            kafka_ahead_s(
                client_of(here), topic_of(here.settings.kafka.consumer_group_prefix), members.heartbeat_period,
                members.heartbeat_timeout,
            )
        )  # fmt: skip
    except (OSError, KafkaError, TimeoutError):
        ahead_s = None  # the check of Kafka says why
    return Skew("Kafka's clock", ahead_s, _KAFKA_WARN_S, _KAFKA_WRONG_S)


async def kafka_ahead_s(client: KafkaClient, topic: str, period_s: float, timeout_s: float) -> float | None:
    """By the heartbeats of running processes, which have the brokers' time. None: nobody writes any."""
    await client.reach()
    consumer = AIOKafkaConsumer(**client.arguments(), request_timeout_ms=_REQUEST_MS)
    tp = TopicPartition(topic, 0)
    try:
        await consumer.start()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        if end:
            consumer.seek(tp, end - 1)
            last = await asyncio.wait_for(consumer.getone(), timeout_s)
            age_s: float = time.time() - last.timestamp / 1000
            if age_s < period_s:  # it is the newest that there can be
                return min(0.0, age_s)
        # An older one, or none: the next one tells more, if anybody lives.
        last = await asyncio.wait_for(consumer.getone(), timeout_s)
        return time.time() - float(last.timestamp) / 1000
    except TimeoutError:
        return None
    finally:
        await consumer.stop()


def _of_storage(settings: Settings) -> Skew:
    try:
        ahead_s: float | None = walled(lambda: storage_ahead_s(ObjectStore(storage_config(settings.storage.trace))))
    except StorageError:
        ahead_s = None  # the check of the storage says why
    return Skew("the object storage's clock", ahead_s, _STORAGE_WARN_S, _STORAGE_WRONG_S)


def storage_ahead_s(store: ObjectStore) -> float | None:
    """By the time of an object that was just written. Raises: StorageError"""
    path = f"probe/{uuid.uuid4().hex}"
    before_s = time.time()
    store.put(path, b"stretto compares clocks")
    after_s = time.time()
    try:
        stamp = store.stamp(path)
    finally:
        store.delete([path])
    if stamp is None:
        return None
    # The time is cut to seconds, and lies somewhere between the two.
    if before_s - 1 <= stamp.modified_s <= after_s:
        return 0.0
    return before_s - 1 - stamp.modified_s if stamp.modified_s < before_s else after_s - stamp.modified_s
