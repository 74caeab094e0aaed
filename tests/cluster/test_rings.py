"""Who is there, told by the real thing; and large requests, which must not hold it up."""

import json
import os
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from tables.wire.otlp.clean import tagged
from tests.harness.client import Client, eventually, request
from tests.harness.other_process import OtherProcess


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
    assert f"-{client.pid('worker')}-" in worker["id"]
    eventually(
        lambda: asked(client, "/partition-ring")["partitions"],
        lambda rows: len(rows) == 4 and all(row["flushed"] == row["next_offset"] for row in rows),
        what="not all is in blocks",
    )
    (distributor,) = eventually(
        lambda: asked(client, "/distributor/ring")["shards"],
        lambda found: [one["state"] for one in found] == ["ACTIVE"],
    )
    assert distributor["id"] == worker["id"]
    (member,) = asked(client, "/memberlist")["members"]
    assert {"live-store", "distributor"} <= set(member["targets"])


def test_others_come_and_go(client: Client, tmp_path: Path) -> None:
    """A second process is known within moments, marked when it is silent, forgotten later; one that stops is gone at
    once.
    """

    def others() -> list[str]:
        members = asked(client, "/memberlist")["members"]
        return [one["state"] for one in members if one["targets"] == ["compactor"]]

    with OtherProcess(client.cluster, tmp_path, "compactor") as compactor:
        eventually(others, lambda found: found == ["ACTIVE"])
        os.kill(compactor.pid, signal.SIGSTOP)
        eventually(others, lambda found: found == ["UNHEALTHY"])
        eventually(others, lambda found: not found)
        os.kill(compactor.pid, signal.SIGCONT)
        eventually(others, lambda found: found == ["ACTIVE"])
        assert compactor.stop() == 0
        eventually(others, lambda found: not found, 3)


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
