"""`stretto doctor` on topics: each of their settings that would lose spans, and the command that mends it."""

from dataclasses import replace

import pytest

from app.cli.doctor import kafka_topics
from app.cli.doctor.diagnosis import DoctorVerdict
from app.cli.doctor.kafka_facts import KafkaFacts, TopicFacts
from app.process.topics import specs
from app.settings import Settings, load

OK, WARNING, WRONG = DoctorVerdict


def facts(settings, *, brokers=1, **changes):
    """As Stretto makes the topics, with changes of topic `spans`; None: it is not there."""
    topics = {
        spec.name: TopicFacts(spec.partitions, spec.replication_factor, spec.replication_factor, (), dict(spec.config))
        for spec in specs(settings)
    }
    if changes.get("partitions", 1) is None:
        del topics["spans"]
    else:
        config = topics["spans"].config | changes.pop("config", {})
        topics["spans"] = replace(topics["spans"], **{"config": config} | changes)
    return KafkaFacts("id", [f"k{number}:9092" for number in range(brokers)], "3.9", topics)


def of_spans(settings, found):
    return [one for one in kafka_topics.judged(settings, found) if one.subject == "topic spans"]


def test_as_they_are_made():
    settings = Settings()
    found = kafka_topics.judged(settings, facts(settings))
    assert {one.verdict for one in found} == {OK}
    assert [one.subject for one in found][:3] == ["topic spans", "topic otlp_spans", "topic compaction_jobs"]


ALTER = "kafka-configs.sh --alter --entity-type topics --entity-name spans --add-config"


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({"partitions": None}, WARNING, "does not exist → nothing"),
        ({"leaderless": (2,)}, WRONG, "partitions without a leader: 2"),
        ({"partitions": 2}, WARNING, "kafka-topics.sh --alter --topic spans --partitions 4"),
        ({"partitions": 8}, OK, "8 partitions"),
        ({"replicas": 1, "brokers": 3}, WARNING, "lost with one broker"),
        ({"config": {"retention.ms": "1000"}}, WRONG, "deleted before they are in a block"),
        ({"config": {"retention.ms": "1000"}}, WRONG, f"{ALTER} retention.ms=86400000"),
        ({"config": {"retention.ms": "3600000"}}, WARNING, "may last less long"),
        ({"config": {"retention.ms": "-1"}}, OK, ""),
        ({"config": {"retention.bytes": "5"}}, WARNING, f"earlier than by their age → {ALTER} retention.bytes=-1"),
        ({"config": {"max.message.bytes": "1048588"}}, WRONG, f"refused → {ALTER} max.message.bytes=8388608"),
        ({"config": {"cleanup.policy": "compact"}}, WRONG, f"records are lost → {ALTER} cleanup.policy=delete"),
        ({"config": {"message.timestamp.type": "CreateTime"}}, WRONG, f"{ALTER} message.timestamp.type=LogAppendTime"),
        ({"replicas": 3, "isr": 3, "brokers": 3, "config": {"min.insync.replicas": "1"}}, WARNING,
         f"counts as safe → {ALTER} min.insync.replicas=2"),
        ({"replicas": 3, "isr": 3, "brokers": 3, "config": {"min.insync.replicas": "2"}}, OK, "3 replicas"),
    ],
)  # fmt: skip
def test_topics(changes, verdict, said):
    settings = Settings()
    (found,) = of_spans(settings, facts(settings, **changes))
    assert (found.verdict, said in f"{found.text} → {found.advice}") == (verdict, True), found


def test_settings_that_are_not_there(tmp_path):
    """More replicas than there are brokers; settings of topics that this client may not see."""
    settings = load({"STRETTO_KAFKA__REPLICATION_FACTOR": "3"}, tmp_path)
    (found,) = of_spans(settings, facts(settings, partitions=None))
    assert (found.verdict, "there are 1 brokers" in found.text) == (WRONG, True)
    (found,) = of_spans(settings, facts(settings, replicas=1))
    assert (found.verdict, "kafka.replication_factor is 3" in found.text) == (WARNING, True)
    known = facts(settings)
    hidden = replace(known, topics={name: replace(one, config={}) for name, one in known.topics.items()})
    (found,) = of_spans(settings, hidden)
    assert (found.verdict, "DescribeConfigs" in found.advice) == (WARNING, True)


def test_replicas_that_lag():
    settings = Settings()
    assert facts(settings).fewest_isr_brokers == []
    assert facts(settings, replicas=3, isr=2).fewest_isr_brokers == ["spans"]
