"""The check `kafka`: brokers, topics, and how far consumer groups are."""

import asyncio
import logging
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from agents.stream.kafka_client import REFUSALS, KafkaClient
from app.cli.doctor import kafka_groups, kafka_topics
from app.cli.doctor.diagnosis import Diagnosis, Surroundings, ok, warning, wrong
from app.cli.doctor.kafka_facts import KafkaFacts, gathered
from app.process.kafka import kafka_client
from app.standalone.plan import embedded_kafka_port


def client_of(here: Surroundings) -> KafkaClient:
    """The Kafka that the settings name, or that `stretto run` starts. Raises: StrettoError"""
    port = embedded_kafka_port(here.settings, here.environ)
    return kafka_client(here.settings.kafka) if port is None else KafkaClient.plain(f"127.0.0.1:{port}")


def check(here: Surroundings) -> Sequence[Diagnosis]:
    """Asks Kafka, as a client that joins no group."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it would log is in the findings
    client = client_of(here)
    try:
        facts = asyncio.run(gathered(client, here.settings))
    except (OSError, KafkaError, TimeoutError) as err:
        embedded = embedded_kafka_port(here.settings, here.environ) is not None
        return [unreachable(client, err, embedded=embedded)]
    return [
        *_cluster(client, facts),
        *kafka_topics.judged(here.settings, facts),
        *kafka_groups.judged(here.settings, facts),
    ]


def unreachable(client: KafkaClient, err: BaseException, *, embedded: bool) -> Diagnosis:
    """The verdict where no broker answers, or none lets us in."""
    subject = f"brokers {client}"
    said = str(err) or type(err).__name__
    if isinstance(err, REFUSALS):
        return wrong(subject, f"do not let Stretto in: {said}", "check kafka.sasl and the permissions of the user")
    if embedded:
        text = "none answers; `stretto run` starts its own there"
        return warning(subject, text, "nothing, if Stretto does not run; KAFKA_URL names another Kafka")
    advice = f"does Kafka run there, with {client.protocol}? KAFKA_URL or kafka.address is its address"
    return wrong(subject, f"do not answer: {said}", advice)


def _cluster(client: KafkaClient, facts: KafkaFacts) -> list[Diagnosis]:
    found = [ok(f"brokers {client}", f"{len(facts.brokers)} in cluster {facts.cluster_id}")]
    if facts.version_min:
        found.append(ok("Kafka's version", f"{facts.version_min} or newer"))
    else:
        text = "older than 2.1, with which Stretto was never tested"
        found.append(warning("Kafka's version", text, "update Kafka"))
    if facts.fewest_isr_brokers:
        text = f"partitions lack replicas: {', '.join(facts.fewest_isr_brokers)}"
        found.append(warning("replicas in sync", text, "see whether a broker is down; wait until it has caught up"))
    return found
