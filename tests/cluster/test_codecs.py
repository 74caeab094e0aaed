"""What Kafka producers write into topic otlp_spans, compressed by each codec, and batches that nobody can read."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from tests.harness.client import Client, eventually, request

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


async def produce(client: Client, codec: str | None, bodies: list[bytes], partition: int | None = None) -> None:
    """As the Kafka exporter of a Collector does."""
    producer = AIOKafkaProducer(
        bootstrap_servers=client.cluster.kafka_address, compression_type=codec, max_request_size=8 << 20
    )
    await producer.start()
    try:
        for body in bodies:
            await producer.send_and_wait("otlp_spans", body, partition=partition)
    finally:
        await producer.stop()


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_codec(client: Client, codec: str | None) -> None:
    """The spans are found, each once, and nothing was skipped."""
    service, skipped = f"codec-{codec}", client.metric("stretto_kafka_batches_skipped_total")
    asyncio.run(produce(client, codec, [request(service, 300, 2), request(service, 1, 1, first_trace=900)]))
    client.expect_spans(service, 601)
    assert client.metric("stretto_kafka_batches_skipped_total") == skipped


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_bomb(client: Client, codec: str) -> None:
    """A batch of 80 MB that compresses well is passed over and counted; what stands beside it is found; no restart."""
    worker, skipped = client.pid("worker"), client.metric("stretto_kafka_batches_skipped_total")
    service = f"bomb-{codec}"

    async def send() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=client.cluster.kafka_address, compression_type=codec, max_request_size=100 << 20
        )
        await producer.start()
        try:
            await producer.send_and_wait("otlp_spans", request(service, 10, 1), partition=2)
            await producer.send_and_wait("otlp_spans", bytes(80 << 20), partition=2)
            await producer.send_and_wait("otlp_spans", request(service, 10, 1, first_trace=50), partition=2)
        finally:
            await producer.stop()

    asyncio.run(send())
    client.expect_spans(service, 20)
    assert client.metric("stretto_kafka_batches_skipped_total") == skipped + 1
    assert client.pid("worker") == worker
    eventually(client.ready, bool, 60, "not ready")
