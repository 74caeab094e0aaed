"""Asks Kafka, over a connection of its own, where topics end and who is in consumer groups."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError
from faust.types import TP

from agents.stream.kafka_client import KafkaClient
from agents.stream.kafka_start import ATTEMPT_S, bounded, reached

log = logging.getLogger(__name__)

_ANSWER_S: Final = 3.0
_CLOSE_S: Final = 1.0
_CLUSTER_S: Final = 10.0


class KafkaSilent(Exception):  # noqa: N818  # a state
    """Kafka did not answer in time, or not with what was asked."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """Of a consumer group. partitions: what Kafka has given it; None: the group is in the midst of a rebalance"""

    id: str
    partitions: frozenset[TP] | None


class KafkaState:
    """One for a process; belongs to its event loop."""

    def __init__(self, kafka: KafkaClient) -> None:
        self._kafka = kafka
        self._consumer: Any = None
        self._cluster: Any = None
        self._cluster_s = 0.0  # when it was asked for, by time.monotonic()
        self._admin: Any = None

    async def ends(self, topics: Iterable[str]) -> dict[TP, int]:
        """The offset behind the last record of each partition, within seconds. Raises: KafkaSilent."""
        try:
            found = await bounded(self._ends(list(topics)), _ANSWER_S)
        except (KafkaError, OSError, TimeoutError, LookupError) as err:
            consumer, self._consumer = self._consumer, None
            await _closed(None if consumer is None else consumer.stop())
            raise KafkaSilent(repr(err)) from err
        return {TP(tp.topic, tp.partition): end for tp, end in found.items()}

    async def _ends(self, topics: Sequence[str]) -> Any:
        if self._consumer is None:
            await self._kafka.reach()
            self._consumer = AIOKafkaConsumer(**self._kafka.arguments(), request_timeout_ms=int(_ANSWER_S * 1000))
            await self._consumer.start()
            self._cluster = None
        # Topics may be made, and get more partitions, while this process runs.
        old = time.monotonic() - self._cluster_s > _CLUSTER_S
        if self._cluster is None or old or not all(map(self._cluster.partitions_for_topic, topics)):
            self._cluster = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001
            self._cluster_s = time.monotonic()
        wanted = [
            TopicPartition(topic, number)
            for topic in topics
            for number in self._cluster.partitions_for_topic(topic) or ()
        ]
        if not wanted:
            raise LookupError("Kafka does not know the topics")
        return await self._consumer.end_offsets(wanted)

    async def members(self, group: str) -> dict[str, GroupMember]:
        """Those of a consumer group by id, within seconds. Raises: KafkaSilent."""
        try:
            answer = await bounded(self._described(group), _ANSWER_S)
            error, _, state, _, _, members, *_ = answer.groups[0]
        except (KafkaError, OSError, TimeoutError, LookupError, ValueError) as err:
            admin, self._admin = self._admin, None
            await _closed(None if admin is None else admin.close())
            raise KafkaSilent(repr(err)) from err
        if error:
            raise KafkaSilent(f"error {error} for group {group}")
        stable = state == "Stable"
        return {one[0]: GroupMember(one[0], assigned_to(one[4]) if stable else None) for one in members}

    async def _described(self, group: str) -> Any:
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(**self._kafka.arguments(), request_timeout_ms=int(_ANSWER_S * 1000))
            await self._admin.start()
        (answer,) = await self._admin.describe_consumer_groups([group])
        return answer

    async def close(self) -> None:
        """Closes the connections to Kafka."""
        consumer, self._consumer = self._consumer, None
        admin, self._admin = self._admin, None
        await _closed(None if consumer is None else consumer.stop())
        await _closed(None if admin is None else admin.close())


def assigned_to(assignment: bytes | None) -> frozenset[TP]:
    """The partitions in a member's assignment, as Kafka keeps it."""
    if not assignment:
        return frozenset()
    found = ConsumerProtocolMemberAssignment.decode(assignment).assignment
    return frozenset(TP(topic, number) for topic, numbers in found for number in numbers)


async def _closed(closing: Any) -> None:
    if closing is not None:
        with suppress(KafkaError, OSError, TimeoutError):
            await bounded(closing, _CLOSE_S)


async def cluster_and_partitions(kafka: KafkaClient, topic: str) -> tuple[str, int]:
    """The Kafka cluster's id, which tells its offsets from another cluster's, and the topic's partition count.

    Raises: KafkaError, OSError, TimeoutError
    """

    async def ask() -> tuple[str, int]:
        admin = AIOKafkaAdminClient(**kafka.arguments(), request_timeout_ms=int(ATTEMPT_S * 1000))
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            (found,) = await admin.describe_topics([topic])
            return str(cluster["cluster_id"]), len(found["partitions"])
        finally:
            await admin.close()

    return await reached("ask Kafka for its cluster and topics", ask)
