"""The topic's partitions are raised while everything runs: a trace's spans lie in two partitions, and are found."""

import asyncio
import threading
import urllib.error
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]
TRACES = 40


def raise_partitions(cluster: Cluster, count: int) -> None:
    async def ask() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka_address)
        await admin.start()
        try:
            await admin.create_partitions({"spans": NewPartitions(total_count=count)})
        finally:
            await admin.close()

    asyncio.run(ask())


def written(client: Client) -> set[int]:
    return {
        number for number, row in enumerate(client.get_json("/partition-ring")["partitions"]) if row.get("next_offset")
    }


def later(first: int, traces: int) -> bytes:
    """Further spans of the same traces."""
    return request("growing", traces, 2, first).replace(b"span 1", b"more 1").replace(b"span 0", b"more 0")


def trace_id(number: int) -> str:
    return (b"growing_" + number.to_bytes(8, "big")).hex()


@pytest.mark.parametrize("workers", [1, 2])
def test_raised_while_running(tmp_path: Path, workers: int) -> None:
    """No query misses a span meanwhile; every trace is whole by id, from live stores and from blocks."""
    with Cluster(tmp_path, {**SHORT_WINDOWS, "STRETTO_WORKERS": str(workers)}) as cluster:
        client = Client(cluster)
        client.send(request("growing", TRACES, 2))
        client.expect_spans("growing", 2 * TRACES)
        done, wrong = threading.Event(), []

        def ask() -> None:
            while not done.wait(0.2):
                try:
                    if (found := client.span_count("growing")) < 2 * TRACES:
                        wrong.append(found)
                except urllib.error.HTTPError as refused:
                    # In the moment of a rebalance; the client is told to come back.
                    if refused.code != 503 or not refused.headers["Retry-After"]:
                        wrong.append(refused.read())

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            raise_partitions(cluster, 8)
            rounds = 0

            def send_more() -> set[int]:
                nonlocal rounds
                client.send(request("filler", TRACES, 1, first_trace=1 + TRACES * rounds))
                rounds += 1
                return written(client)

            eventually(send_more, lambda numbers: numbers == set(range(8)), 90, "new partitions are not used")
            client.send(later(1, TRACES))
            client.expect_spans("growing", 4 * TRACES)
        finally:
            done.set()
            asking.join()
        assert not wrong, wrong[:3]
        for number in (1, 2, 3, TRACES):
            assert len(client.trace_spans(trace_id(number))) == 4
        eventually(
            lambda: client.get_json("/partition-ring")["partitions"],
            lambda rows: all(row["flushed"] == row["next_offset"] for row in rows),
            60,
            "not all is in blocks",
        )
        client.expect_spans("growing", 4 * TRACES)
        for number in range(1, TRACES + 1):
            assert len(client.trace_spans(trace_id(number))) == 4
