"""What Kafka says of itself: brokers, topics, settings of topics, offsets of groups."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from agents.stream.kafka_client import KafkaClient
from app.process.topics import specs
from app.settings import Settings

_REQUEST_MS: Final = 5_000
_FETCH_KEY: Final = 1
# Kafka's version by the newest Fetch that it knows; from 4.0 on the oldest is gone.
_VERSIONS: Final[Mapping[int, str]] = {
    10: "2.1",
    11: "2.3",
    12: "2.7",
    13: "3.1",
    14: "3.5",
    15: "3.5",
    16: "3.7",
    17: "3.9",
}
_OLDEST_FETCH_4: Final = 4


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """replicas, isr: of the partition that has fewest; leaderless: partitions without a leader; config: what holds"""

    partitions: int
    replicas: int
    isr: int
    leaderless: Sequence[int] = ()
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConsumerGroupFacts:
    """How far a consumer group is in a topic, by partition: what Kafka has first, what is committed (-1: nothing), the
    end, and the first record that is not older than some ages, by age in seconds; -1: there is none.
    """

    topic: str
    begins: Sequence[int]
    committed: Sequence[int]
    ends: Sequence[int]
    since: Mapping[float, Sequence[int]]
    members: int = 0


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """version_min: "2.1" for 2.1 or newer, "" for older ones"""

    cluster_id: str
    brokers: Sequence[str]
    version_min: str
    topics: Mapping[str, TopicFacts]
    groups: Mapping[str, ConsumerGroupFacts] = field(default_factory=dict)

    @property
    def fewest_isr_brokers(self) -> list[str]:
        """The topics with a partition that lacks replicas."""
        return [name for name, topic in self.topics.items() if topic.isr < topic.replicas]


def version_min(fetch: tuple[int, int]) -> str:
    """Kafka's version at least. fetch: the oldest and newest version of Fetch that it knows"""
    oldest, newest = fetch
    if oldest >= _OLDEST_FETCH_4:
        return "4.0"
    return next((_VERSIONS[known] for known in sorted(_VERSIONS, reverse=True) if newest >= known), "")


def groups_of(settings: Settings) -> dict[str, tuple[str, tuple[float, float]]]:
    """The consumer groups of these settings, with the topic, and the ages in seconds to look at: what is read too late,
    and what Kafka is about to forget.
    """
    kafka, zone = settings.kafka, settings.members.zone
    forgotten_s = kafka.retention_s / 2
    # A live store commits a record when its block is written.
    late_s = 3 * settings.live_store.block_age_s + 60
    prefix = kafka.consumer_group_prefix
    found = {f"{prefix}-live-store{f'-{zone}' if zone else ''}": (kafka.topic, (late_s, forgotten_s))}
    found[f"{prefix}-distributor"] = (kafka.otlp_topic, (60.0, forgotten_s))
    if settings.metrics_generator.storage.remote_write:
        found[f"{prefix}-metrics-generator"] = (kafka.topic, (180.0, forgotten_s))
    return found


async def gathered(client: KafkaClient, settings: Settings) -> KafkaFacts:
    """Asks Kafka. Raises: OSError, KafkaError, TimeoutError"""
    await client.reach()
    admin = AIOKafkaAdminClient(**client.arguments(), request_timeout_ms=_REQUEST_MS)
    consumer = AIOKafkaConsumer(**client.arguments(), request_timeout_ms=_REQUEST_MS)
    try:
        await admin.start()
        await consumer.start()
        cluster = await admin.describe_cluster()
        names = [topic.name for topic in specs(settings)]
        there = {topic["topic"]: topic for topic in await admin.describe_topics() if not topic["error_code"]}
        known = [name for name in names if name in there]
        configs = await _configs(admin, known)
        topics = {name: _topic(there[name], configs.get(name, {})) for name in known}
        groups = {}
        for group, (topic, ages_s) in groups_of(settings).items():
            if topic in topics:
                groups[group] = await _group(admin, consumer, group, topic, topics[topic].partitions, ages_s)
        return KafkaFacts(
            cluster_id=str(cluster["cluster_id"]),
            brokers=[f"{one['host']}:{one['port']}" for one in cluster["brokers"]],
            version_min=version_min(await _fetch_versions(admin)),
            topics=topics,
            groups=groups,
        )
    finally:
        await consumer.stop()
        await admin.close()


async def _fetch_versions(admin: Any) -> tuple[int, int]:
    client = admin._client  # noqa: SLF001  no public way to ask
    node = client.get_random_node()
    await client.ready(node)
    connections = client._conns.values()  # noqa: SLF001
    found = [conn._versions.get(_FETCH_KEY) for conn in connections if conn is not None]  # noqa: SLF001
    return next((versions for versions in found if versions), (0, 0))


async def _configs(admin: Any, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """The settings of topics that hold; none where this client may not see them."""
    if not topics:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in topics])
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for error_code, _, _, name, entries in answer.resources:
            if not error_code:
                found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


def _topic(described: Any, config: Mapping[str, str]) -> TopicFacts:
    partitions = described["partitions"]
    return TopicFacts(
        partitions=len(partitions),
        replicas=min((len(one["replicas"]) for one in partitions), default=0),
        isr=min((len(one["isr"]) for one in partitions), default=0),
        leaderless=[one["partition"] for one in partitions if one["leader"] < 0],
        config=config,
    )


async def _group(
    admin: Any, consumer: Any, group: str, topic: str, partitions: int, ages_s: Sequence[float]
) -> ConsumerGroupFacts:
    tps = [TopicPartition(topic, number) for number in range(partitions)]
    committed: dict[TopicPartition, Any] = {}
    members = 0
    try:
        committed = await admin.list_consumer_group_offsets(group, partitions=tps)
        (described,) = await admin.describe_consumer_groups([group])
        members = len(described.groups[0][5])
    except KafkaError as err:
        if not err.retriable:  # the group cannot be seen; else nobody has asked for a group yet
            raise
    begins, ends = await asyncio.gather(consumer.beginning_offsets(tps), consumer.end_offsets(tps))
    now_ms = round(time.time() * 1000)
    since: dict[float, Sequence[int]] = {}
    for age_s in ages_s:
        found = await consumer.offsets_for_times(dict.fromkeys(tps, now_ms - round(age_s * 1000)))
        since[age_s] = [found[tp].offset if found.get(tp) else -1 for tp in tps]
    return ConsumerGroupFacts(
        topic=topic,
        begins=[begins[tp] for tp in tps],
        committed=[committed[tp].offset if tp in committed else -1 for tp in tps],
        ends=[ends[tp] for tp in tps],
        since=since,
        members=members,
    )
