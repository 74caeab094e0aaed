"""Who is there, told by the real thing; and large requests, which must not hold it up."""

import asyncio
import json
import threading
import time
import urllib.request
from typing import Any

from agents.stream.kafka_client import KafkaClient
from agents.stream.topic_ends import TopicEnds
from app.standalone.ports import free_port
from app.targets.kafka_rings import KafkaRings
from tables.wire.otlp.clean import tagged
from tests.harness.client import Client, eventually, request


def asked(client: Client, path: str) -> Any:
    url = urllib.request.Request(client.cluster.http_url + path, headers={"Accept": "application/json"})
    with urllib.request.urlopen(url, timeout=20) as reply:
        return json.loads(reply.read())


def test_rings(client: Client) -> None:
    """One worker has all partitions, reads up to their ends, and makes blocks of them."""
    client.send(request("rings", 50, 2))
    client.expect_spans("rings", 100)

    def caught_up(ring: Any) -> bool:
        rows = [row for worker in ring["shards"] for row in worker.get("offsets", [])]
        return len(rows) == 4 and all(row["next_offset"] > 0 and row.get("lag") == 0 for row in rows)

    (worker,) = eventually(lambda: asked(client, "/live-store/ring"), caught_up)["shards"]
    assert (worker["state"], worker["this_process"], worker["partitions"]) == ("ACTIVE", True, [0, 1, 2, 3])
    assert worker["id"].startswith("stretto-live-store-")
    assert worker["address"] == "127.0.0.1"
    eventually(
        lambda: asked(client, "/partition-ring")["partitions"],
        lambda rows: len(rows) == 4 and all(row["flushed"] == row["next_offset"] for row in rows),
        what="not all is in blocks",
    )
    (distributor,) = eventually(
        lambda: asked(client, "/distributor/ring")["shards"],
        lambda found: [one["state"] for one in found] == ["ACTIVE"],
    )
    assert distributor["id"].startswith(("faust", "stretto"))
    assert {one["role"] for one in asked(client, "/memberlist")["members"]} >= {"live-store", "distributor"}


def test_kafka_away() -> None:
    """The page comes within seconds, and says what is missing."""

    async def main() -> None:
        rings = KafkaRings(KafkaClient.plain(f"127.0.0.1:{free_port()}"), "stretto", {}, TopicEnds())
        began_s = time.monotonic()
        ring = await rings.ring("live-store")
        again = await rings.ring("live-store")
        assert time.monotonic() - began_s < 5
        assert not ring.workers
        assert "Kafka" in ring.problem
        assert again == ring
        await rings.close()

    asyncio.run(main())


def test_large_requests_hold_up_nobody(client: Client) -> None:
    """While 15 MB of small spans, and 6 MB of empty ones, are decoded, small requests are taken as ever."""
    large = request("large", 50_000, 5)
    empty = tagged(0x0A, tagged(0x12, b"\x12\x00" * 3_000_000))
    done = threading.Event()

    def send() -> None:
        assert client.post(large)[0] == 200
        assert client.post(empty)[0] == 200
        done.set()

    sending = threading.Thread(target=send)
    sending.start()
    slowest_s, rounds = 0.0, 0
    while not done.is_set() and sending.is_alive():
        began_s = time.monotonic()
        client.send(request("beside", 1, 1, first_trace=rounds + 1))
        slowest_s, rounds = max(slowest_s, time.monotonic() - began_s), rounds + 1
    sending.join()
    assert done.is_set()
    client.expect_spans("large", 250_000)
    client.expect_spans("beside", rounds)
    assert rounds > 2
    assert slowest_s < 2  # 0.2 on a machine that does nothing else
