"""`stretto doctor` beside a running server with a real Kafka; and SIGHUP, which reaches all of its workers."""

import asyncio
import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import COMMAND, SHORT_WINDOWS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

SETTINGS = "query_frontend: {search: {max_result_limit: %d}}\nquery: {threads: %d}\n"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, with a settings file."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "stretto.yaml").write_text(SETTINGS % (100_000, 2))
    with Cluster(folder, {**SHORT_WINDOWS, "STRETTO_WORKERS": "2"}) as running:
        yield running


def folder_of(cluster: Cluster) -> Path:
    return cluster.data_dir.parent


def doctor(cluster: Cluster) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the findings by their subject."""
    done = subprocess.run(
        [COMMAND[0], "doctor", "--json"],
        cwd=folder_of(cluster),
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, {one["subject"]: one for one in found["findings"]}


def test_nothing_is_wrong(two: Cluster) -> None:
    """It sees Kafka, the topics, the groups, the clocks, and that the ports are held by the workers."""
    Client(two).send(request("doctor", 5, 2))
    code, found = doctor(two)
    assert [one for one in found.values() if one["verdict"] == "wrong"] == []
    assert code == 0
    assert "1 in cluster" in found[f"brokers {two.kafka_address}"]["text"]
    assert found["Kafka's version"]["text"] == "4.0 or newer"
    assert found["topic spans"]["verdict"] == "ok"
    assert found["group stretto-live-store"]["verdict"] == "ok"
    assert "agrees within" in found["Kafka's clock"]["text"]
    assert "agrees within" in found["the object storage's clock"]["text"]
    held = {name: one["text"] for name, one in found.items() if name.endswith(")") and ":" in name}
    assert set(held.values()) == {"held by Stretto"}, held
    assert found["server"]["text"] == "runs, and is ready"
    Client(two).expect_spans("doctor", 10)


def test_a_topic_that_forgets(two: Cluster) -> None:
    """It says what would be lost, and the command that mends it."""
    alter(
        two,
        "spans",
        {"retention.ms": "3000", "message.timestamp.type": "LogAppendTime", "max.message.bytes": "9000000"},
    )
    try:
        code, found = doctor(two)
    finally:
        wanted = {"retention.ms": "86400000", "message.timestamp.type": "LogAppendTime", "max.message.bytes": "8388608"}
        alter(two, "spans", wanted)
    assert code == 1
    assert found["topic spans"]["verdict"] == "wrong"
    assert "spans are deleted before they are in a block" in found["topic spans"]["text"]
    assert "--entity-name spans --add-config retention.ms=86400000" in found["topic spans"]["advice"]
    assert doctor(two)[0] == 0


def alter(cluster: Cluster, topic: str, config: dict[str, str]) -> None:
    async def change() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=cluster.kafka_address)
        await admin.start()
        try:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
        finally:
            await admin.close()

    asyncio.run(change())


def test_reload(two: Cluster) -> None:
    """By a signal to `stretto run`, and over the API; what needs a restart is named, a bad file changes nothing."""
    file, log = folder_of(two) / "stretto.yaml", two.data_dir / "logs" / "worker.log"
    file.write_text(SETTINGS % (200_000, 7))
    os.kill(two.pid, signal.SIGHUP)
    eventually(
        lambda: limits(two), lambda found: found == ["200000", "200000"], 30, "the workers have not read it again"
    )
    # The supervisor writes the workers' lines a moment after they say them.
    eventually(
        lambda: [line for line in log.read_text().splitlines() if "needs a restart: query.threads" in line],
        lambda waiting: {line.partition(" | ")[0] for line in waiting} >= {"worker-1", "worker-2"},
        30,
        "the log does not say of each worker what needs a restart",
    )
    file.write_text(SETTINGS % (300_000, 7))
    status, text = post(two)
    assert status == 200
    assert text.count("changed: query_frontend.search.max_result_limit\nneeds a restart: query.threads") == 2
    assert limits(two) == ["300000", "300000"]
    file.write_text(SETTINGS % (400_000, 0))
    status, text = post(two)
    assert status == 500
    assert text.count("stretto.yaml:2: query.threads: expected an integer from 1 to 1024; got the number 0") == 2
    assert limits(two) == ["300000", "300000"]
    file.write_text(SETTINGS % (100_000, 2))
    assert post(two)[0] == 200


def limits(cluster: Cluster) -> list[str]:
    """What each worker says that it uses."""
    found = []
    for url in cluster.worker_urls().values():
        with urllib.request.urlopen(f"{url}/status/config", timeout=10) as reply:
            found.append(reply.read().decode().partition("max_result_limit: ")[2].split()[0])
    return found


def post(cluster: Cluster) -> tuple[int, str]:
    try:
        asked = urllib.request.Request(f"{cluster.http_url}/-/reload", method="POST")
        with urllib.request.urlopen(asked, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()
