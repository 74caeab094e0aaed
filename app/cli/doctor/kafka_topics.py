"""Verdicts on topics: whether they exist, as the settings want them, and keep their records long enough."""

from collections.abc import Mapping
from typing import Final

from app.cli.doctor.diagnosis import Diagnosis, ok, warning, wrong
from app.cli.doctor.kafka_facts import KafkaFacts, TopicFacts
from app.process.topics import TopicSpec, specs
from app.settings import Settings

_BROKERS_MANY: Final = 3
_FOREVER: Final = -1


def judged(settings: Settings, facts: KafkaFacts) -> list[Diagnosis]:
    """The verdicts on all topics of these settings."""
    found: list[Diagnosis] = []
    for spec in specs(settings):
        topic = facts.topics.get(spec.name)
        if topic is None:
            found.append(_missing(spec, facts))
        else:
            problems = _topic(settings, spec, topic, facts)
            counts = f"{topic.partitions} partitions, {topic.replicas} replicas" if topic.partitions > 1 else "exists"
            found += problems or [ok(f"topic {spec.name}", counts)]
    return found


def _missing(spec: TopicSpec, facts: KafkaFacts) -> Diagnosis:
    subject, brokers = f"topic {spec.name}", len(facts.brokers)
    if spec.replication_factor > brokers:
        text = f"cannot be made: kafka.replication_factor is {spec.replication_factor}, and there are {brokers} brokers"
        return wrong(subject, text, "start more brokers, or lower kafka.replication_factor")
    return warning(subject, "does not exist", "nothing: Stretto makes it when it starts, if it may")


def _topic(settings: Settings, spec: TopicSpec, topic: TopicFacts, facts: KafkaFacts) -> list[Diagnosis]:
    subject = f"topic {spec.name}"
    found: list[Diagnosis] = []
    if topic.leaderless:
        text = f"partitions without a leader: {', '.join(map(str, topic.leaderless))}; nothing is written or read there"
        found.append(wrong(subject, text, "bring their brokers back"))
    if topic.partitions < spec.partitions:
        text = f"has {topic.partitions} partitions, and kafka.partitions is {spec.partitions}"
        command = f"kafka-topics.sh --alter --topic {spec.name} --partitions {spec.partitions}"
        found.append(warning(subject, text, f"{command}, or set kafka.partitions to {topic.partitions}"))
    if topic.replicas < spec.replication_factor:
        text = f"has {topic.replicas} replicas, and kafka.replication_factor is {spec.replication_factor}"
        found.append(warning(subject, text, "kafka-reassign-partitions.sh adds replicas"))
    elif topic.replicas == 1 and len(facts.brokers) >= _BROKERS_MANY:
        text = "has 1 replica: what is not in a block yet is lost with one broker"
        found.append(warning(subject, text, "kafka-reassign-partitions.sh adds replicas; set kafka.replication_factor"))
    return found + _config(settings, spec, topic)


def _config(settings: Settings, spec: TopicSpec, topic: TopicFacts) -> list[Diagnosis]:
    """Verdicts on the topic's settings; on none where this client may not see them."""
    wanted, config = dict(spec.config), topic.config
    found: list[Diagnosis] = []
    subject = f"topic {spec.name}"

    def alter(name: str, value: object) -> str:
        return f"kafka-configs.sh --alter --entity-type topics --entity-name {spec.name} --add-config {name}={value}"

    if not config:
        return [warning(subject, "its settings cannot be seen", "allow DescribeConfigs on the topic")]
    policy = wanted.get("cleanup.policy", "delete")
    if config.get("cleanup.policy", policy) != policy:
        text = f"cleanup.policy is {config['cleanup.policy']}: records are lost"
        found.append(wrong(subject, text, alter("cleanup.policy", policy)))
    stamps = wanted.get("message.timestamp.type")
    if stamps and config.get("message.timestamp.type", stamps) != stamps:
        text = f"message.timestamp.type is {config['message.timestamp.type']}: replicas would cut segments differently"
        found.append(wrong(subject, text, alter("message.timestamp.type", stamps)))
    size = int(wanted.get("max.message.bytes", 0))
    if size and int(config.get("max.message.bytes", size)) < size:
        text = f"max.message.bytes is {config['max.message.bytes']}: records up to kafka.max_message_bytes are refused"
        found.append(wrong(subject, text, alter("max.message.bytes", size)))
    found += _retention(settings, subject, wanted, config, alter("retention.ms", wanted.get("retention.ms")))
    if topic.replicas >= _BROKERS_MANY and config.get("min.insync.replicas") == "1":
        text = "min.insync.replicas is 1: what one broker alone has counts as safe"
        found.append(warning(subject, text, alter("min.insync.replicas", 2)))
    return found


def _retention(
    settings: Settings, subject: str, wanted: Mapping[str, str], config: Mapping[str, str], advice: str
) -> list[Diagnosis]:
    if "retention.ms" not in wanted:
        return []
    found: list[Diagnosis] = []
    kept_ms, wanted_ms = int(config.get("retention.ms", wanted["retention.ms"])), int(wanted["retention.ms"])
    needed_ms = 2 * settings.live_store.block_age_s * 1000
    if kept_ms != _FOREVER and kept_ms < needed_ms:
        text = f"retention.ms is {kept_ms}: spans are deleted before they are in a block ({needed_ms:.0f} are needed)"
        found.append(wrong(subject, text, advice))
    elif kept_ms != _FOREVER and kept_ms < wanted_ms:
        text = f"retention.ms is {kept_ms}, and kafka.retention_s is {settings.kafka.retention_s:g}: an outage of the "
        found.append(warning(subject, f"{text}object storage may last less long", advice))
    if int(config.get("retention.bytes", _FOREVER)) != _FOREVER:
        text = f"retention.bytes is {config['retention.bytes']}: records may be deleted earlier than by their age"
        found.append(warning(subject, text, advice.rpartition(" ")[0] + " retention.bytes=-1"))
    return found
