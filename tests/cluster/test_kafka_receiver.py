"""Topics of others, in every encoding: found by tenant; what cannot be read goes to the dead-letter topic."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor.encodings import ENCODINGS
from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.helpers.receiving.kafka_messages import MESSAGES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
SETTINGS = {
    "multitenancy_enabled": True,
    "distributor": {
        "receivers": {
            "kafka": {
                "topic_refresh_s": 0.5,
                "dead_letter_topic": "dead",
                "traces": [
                    {"topics": [f"from-{encoding}"], "encoding": encoding, "tenant_from": "setting", "tenant": encoding}
                    for encoding in MESSAGES
                ]
                + [
                    {"topics": ["^team-.*"], "exclude_topics": ["^team-no.*"], "tenant_from": "key", "tenant": "nobody"}
                ],
            }
        }
    },
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("kafka-receiver")
    (folder / "stretto.yaml").write_text(yaml.safe_dump(SETTINGS))
    with Cluster(folder, SHORT_WINDOWS) as running:
        yield running


def produce(address: str, messages: list[tuple[str, bytes, bytes | None]]) -> None:
    async def main() -> None:
        async with AIOKafkaProducer(bootstrap_servers=address) as producer:
            for topic, value, key in messages:
                await producer.send_and_wait(topic, value, key, partition=0)

    asyncio.run(main())


def create(address: str, *topics: str) -> None:
    async def main() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])
        await admin.close()

    asyncio.run(main())


def dead_letters(address: str) -> list[Any]:
    """All that are there."""

    async def main() -> list[Any]:
        async with AIOKafkaConsumer("dead", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
            found = await consumer.getmany(timeout_ms=2000)
            return [message for messages in found.values() for message in messages]

    return asyncio.run(main())


def committed(address: str, topic: str) -> int:
    """The offset that the group of distributors has committed."""

    async def main() -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets("stretto-distributor")
            return max([place.offset for tp, place in found.items() if tp.topic == topic], default=-1)
        finally:
            await admin.close()

    return asyncio.run(main())


def ids(body: bytes) -> tuple[str, list[str]]:
    """The trace of an OTLP request, and its spans."""
    groups = ExportTraceServiceRequest.FromString(body).resource_spans
    found = [one for group in groups for scope in group.scope_spans for one in scope.spans]
    return found[0].trace_id.hex(), sorted(f"{one.name} {one.kind}" for one in found)


def trace(client: Client, trace_id: str, tenant: str) -> Any:
    """A trace by id, as its tenant gets it; None if there is none."""
    url = f"{client.cluster.http_url}/api/traces/{trace_id}"
    asked = urllib.request.Request(url, headers={"X-Scope-OrgID": tenant, "Accept": "application/protobuf"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.read()
    except urllib.error.HTTPError as err:
        if err.code == 404:
            return None
        raise


@pytest.mark.parametrize("encoding", MESSAGES)
def test_each_encoding(client: Client, encoding: str) -> None:
    """Of its tenant alone; the partition goes on behind what cannot be read, which is kept with its place."""
    topic, bad = f"from-{encoding}", b"\xff\xfe" * 50 + encoding.encode()
    address = client.cluster.kafka_address
    produce(address, [(topic, bad, b"a key"), (topic, MESSAGES[encoding], None)])
    translate = ENCODINGS[encoding]
    body = MESSAGES[encoding] if translate is None else translate(MESSAGES[encoding], 0, 1.0).body
    trace_id, names = ids(body)
    found = eventually(lambda: trace(client, trace_id, encoding), bool, what=encoding)
    assert ids(found) == (trace_id, names)
    assert trace(client, trace_id, "somebody-else") is None
    (letter,) = eventually(lambda: [one for one in dead_letters(address) if one.value == bad], bool)
    headers = dict(letter.headers)
    place = [headers[f"stretto.dead_letter.{name}"].decode() for name in ("topic", "partition", "offset", "reason")]
    assert (place, letter.key) == ([topic, "0", "0", "malformed"], b"a key")


def test_topics_that_are_made_later(client: Client) -> None:
    """A regular expression finds them; the key says whose the spans are; what is excluded is not read."""
    address = client.cluster.kafka_address
    for topic in ("team-a", "team-no-spans", "team-b"):
        create(address, topic)
        produce(address, [(topic, request(topic, 2, 1), b"ours"), (topic, request(f"{topic}-none", 1, 1), None)])
    for tenant, service in (("ours", "team-a"), ("nobody", "team-b-none"), ("ours", "team-b")):
        trace_id = (service.encode()[:8].ljust(8, b"_") + (1).to_bytes(8, "big")).hex()
        assert eventually(lambda trace_id=trace_id, tenant=tenant: trace(client, trace_id, tenant), bool, what=service)  # type: ignore[misc]
    assert client.metric("stretto_otlp_messages_total") >= 4
    assert trace(client, (b"team-no-" + (1).to_bytes(8, "big")).hex(), "ours") is None


def test_offsets_are_committed_when_the_spans_are_written(client: Client) -> None:
    """Killed and started again, nothing is read twice: the counter begins at zero and stays there."""
    eventually(lambda: committed(client.cluster.kafka_address, "from-zipkin_json"), lambda offset: offset >= 2)
    client.kill_worker()
    eventually(lambda: client.metric("stretto_consumer_lag_records"), lambda lag: lag == 0)
    assert client.metric("stretto_otlp_messages_total") == 0
    assert client.metric("stretto_dead_letters_total") == 0
