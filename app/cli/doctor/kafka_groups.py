"""Verdicts on consumer groups: whether they keep up, and whether Kafka deletes what they have not read."""

from collections.abc import Callable

from app.cli.doctor.diagnosis import Diagnosis, ok, warning, wrong
from app.cli.doctor.kafka_facts import ConsumerGroupFacts, KafkaFacts, groups_of
from app.settings import Settings


def judged(settings: Settings, facts: KafkaFacts) -> list[Diagnosis]:
    """The verdicts on all groups of these settings whose topic exists."""
    return [
        group_judged(name, facts.groups[name], late_s, forgotten_s)
        for name, (_, (late_s, forgotten_s)) in groups_of(settings).items()
        if name in facts.groups
    ]


def group_judged(name: str, group: ConsumerGroupFacts, late_s: float, forgotten_s: float) -> Diagnosis:
    """The verdict on one. late_s: age of a record that is not done, above which it is late; forgotten_s: above which
    Kafka may delete it before
    """
    subject = f"group {name}"
    waiting = [
        max(0, end - max(begin, done))
        for begin, done, end in zip(group.begins, group.committed, group.ends, strict=True)
    ]
    total = sum(waiting)
    text = f"{total} records of {group.topic} are not done yet"
    lost = _partitions(group, lambda n: 0 <= group.committed[n] < group.begins[n])
    if lost:
        text = f"Kafka has deleted records of {group.topic} that were not done, in partitions {lost}"
        return wrong(subject, text, "raise kafka.retention_s and the topic's retention.ms; add processes")
    if total == 0:
        return ok(subject, f"all of {group.topic} is done")
    advice = "start one, or as many as there are partitions" if not group.members else "add processes, then partitions"
    if old := _older(group, forgotten_s):
        text = (
            f"{text}, some are more than {forgotten_s / 3600:.1f} h old, in partitions {old}: Kafka deletes them soon"
        )
        return wrong(subject, text, advice)
    if old := _older(group, late_s):
        return warning(subject, f"{text}, some are more than {late_s:.0f} s old, in partitions {old}", advice)
    return ok(subject, f"{text}, none is more than {late_s:.0f} s old")


def _older(group: ConsumerGroupFacts, age_s: float) -> str:
    """The partitions in which a record of that age is not done."""
    since = group.since[age_s]

    def has_old(number: int) -> bool:
        # -1: every record is older.
        first_young = group.ends[number] if since[number] < 0 else since[number]
        return max(group.begins[number], group.committed[number]) < first_young

    return _partitions(group, has_old)


def _partitions(group: ConsumerGroupFacts, holds: Callable[[int], bool]) -> str:
    return ", ".join(str(number) for number in range(len(group.ends)) if holds(number))
