"""The topics that Stretto needs: creates missing ones, and leaves existing ones unchanged."""

import asyncio
import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from agents.members.topic import topic_of
from agents.stream.kafka_client import REFUSALS, KafkaClient
from agents.stream.leader_topic import LEADER_TOPIC_END
from app.errors import StrettoError
from app.settings import Settings

log = logging.getLogger(__name__)

_RETRY_S: Final = 0.1
_REQUEST_TIMEOUT_MS: Final = 5_000
# The last heartbeat of each process, by the broker's time. Every process reads it whole: it is to be compacted often.
_MEMBERS_CONFIG: Final = (
    ("cleanup.policy", "compact"),
    ("message.timestamp.type", "LogAppendTime"),
    ("segment.ms", "600000"),
    ("max.compaction.lag.ms", "600000"),
    ("delete.retention.ms", "3600000"),
)


class TopicError(StrettoError):
    """A topic cannot be created, or does not match the settings."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    name: str
    partitions: int
    replication_factor: int
    config: tuple[tuple[str, str], ...]  # Kafka's topic settings, as ("retention.ms", "86400000")


def specs(settings: Settings) -> list[TopicSpec]:
    """`spans`, `otlp_spans` and `compaction_jobs`, under the names of the settings, those of the Kafka receiver that
    have names, the topic whose partition makes a compactor the leader, and that of the members.
    """
    kafka = settings.kafka
    config = {
        "cleanup.policy": "delete",
        "max.message.bytes": str(kafka.max_message_bytes),
        "retention.ms": str(round(kafka.retention_s * 1000)),
    }
    # The live store cuts segments by the broker's time: all replicas, and every replay, see the same.
    spans = config | {"message.timestamp.type": "LogAppendTime"}
    receiver = settings.distributor.receivers.kafka
    named = [topic for entry in receiver.traces for topic in entry.topics if not topic.startswith("^")]
    dead = [receiver.dead_letter_topic] if receiver.dead_letter_topic else []
    others = [kafka.otlp_topic, kafka.compaction_topic, *named, *dead]
    found = [
        TopicSpec(name, kafka.partitions, kafka.replication_factor, tuple(chosen.items()))
        for name, chosen in ((kafka.topic, spans), *((name, config) for name in others))
    ]
    leader = f"{kafka.consumer_group_prefix}-compactor{LEADER_TOPIC_END}"
    return [
        *found,
        TopicSpec(leader, 1, kafka.replication_factor, (("cleanup.policy", "delete"),)),
        TopicSpec(topic_of(kafka.consumer_group_prefix), 1, kafka.replication_factor, _MEMBERS_CONFIG),
    ]


async def ensure_topics(kafka: KafkaClient, wanted: Sequence[TopicSpec], within_s: float) -> list[str]:
    """Creates the missing topics and waits until each partition has a leader. Returns the names of the created ones.

    Waits up to `within_s` for brokers that are not up yet. Safe to call from many workers at once.

    Raises: TopicError when the time is over, or at once if waiting cannot help
    """
    end = time.monotonic() + within_s
    made: list[str] = []
    while True:
        try:
            await kafka.reach()
            made += await _ensure_once(kafka, wanted, end)
            return made
        except ssl.SSLCertVerificationError as err:
            raise TopicError(f"the certificate of Kafka at {kafka} is not accepted: {err}; see kafka.tls") from err
        except REFUSALS as err:
            raise TopicError(
                f"Kafka at {kafka} does not let Stretto in: {err}; see kafka.sasl in the settings"
            ) from err
        except (OSError, KafkaError, _NotYetError) as err:
            if time.monotonic() >= end:
                raise TopicError(
                    f"Kafka at {kafka} has not made the topics "
                    f"{', '.join(topic.name for topic in wanted)} within {within_s:.0f} s: "
                    f"{type(err).__name__}: {err}; does it run there, with {kafka.protocol}? KAFKA_URL is its address"
                ) from err
        await asyncio.sleep(_RETRY_S)


async def wait_for_groups(kafka: KafkaClient, within_s: float) -> None:
    """Waits until consumer groups can be used: Kafka creates its own topic for them at the first request.

    Without it, the first worker at a new Kafka logs errors and waits longer. Raises: TopicError
    """
    end = time.monotonic() + within_s
    admin = AIOKafkaAdminClient(**kafka.arguments(), request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        while True:
            try:
                await admin.find_coordinator("stretto")  # any name will do
                return
            except KafkaError as err:
                if not err.retriable or time.monotonic() >= end:
                    raise TopicError(f"consumer groups are not available at {kafka}: {err}") from err
            await asyncio.sleep(_RETRY_S)
    finally:
        await admin.close()


class _NotYetError(Exception):
    pass


async def _ensure_once(kafka: KafkaClient, wanted: Sequence[TopicSpec], end: float) -> list[str]:
    admin = AIOKafkaAdminClient(**kafka.arguments(), request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        there = {found["topic"] for found in await admin.describe_topics() if not found["error_code"]}
        missing = [topic for topic in wanted if topic.name not in there]
        made = await _create(admin, missing) if missing else []
        await _wait_for_leaders(admin, wanted, end)
        return made
    finally:
        await admin.close()


async def _create(admin: Any, topics: Sequence[TopicSpec]) -> list[str]:
    answer = await admin.create_topics(
        [
            NewTopic(topic.name, topic.partitions, topic.replication_factor, topic_configs=dict(topic.config))
            for topic in topics
        ]
    )
    made = []
    for name, code, *message in answer.topic_errors:
        if code == 0:
            made.append(name)
        elif code != TopicAlreadyExistsError.errno:  # another worker was faster
            raise _refused(name, code, message[0] if message else "")
    return made


def _refused(name: str, code: int, message: str) -> Exception:
    error: type[KafkaError] = for_code(code)
    # A broker that has just started does not know of itself yet; it says that there are too few brokers.
    if error.retriable or error is InvalidReplicationFactorError:
        transient: Exception = error(message)
        return transient
    return TopicError(f"Kafka refuses to make topic {name}: {error.__name__}: {message}")


async def _wait_for_leaders(admin: Any, wanted: Sequence[TopicSpec], end: float) -> None:
    partitions = {topic.name: topic.partitions for topic in wanted}
    while True:
        found = await admin.describe_topics(list(partitions))
        ready = [topic for topic in found if _has_leaders(topic)]
        if len(ready) == len(partitions):
            break
        if time.monotonic() >= end:
            raise _NotYetError(f"no leader yet for {sorted(partitions.keys() - {t['topic'] for t in ready})}")
        await asyncio.sleep(_RETRY_S)
    for topic in found:
        count = len(topic["partitions"])
        if count != partitions[topic["topic"]]:
            log.warning(
                "topic %s has %d partitions, not the %d of kafka.partitions; it is left as it is",
                topic["topic"],
                count,
                partitions[topic["topic"]],
            )


def _has_leaders(topic: dict[str, Any]) -> bool:
    partitions = topic["partitions"]
    return not topic["error_code"] and bool(partitions) and all(p["leader"] >= 0 for p in partitions)
