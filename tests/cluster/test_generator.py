"""Spans in over gRPC, series out at a receiver, over a kill -9 of the worker and a receiver that is away."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.harness.client import Client, eventually
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.ports import own_port
from tests.harness.remote_write_receiver import RemoteWriteReceiver, listening
from tests.helpers.live.whole_way import request, span

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CALLS = "traces_spanmetrics_calls_total"
EDGES = "traces_service_graph_request_total"
CLIENT, SERVER = 3, 2


@pytest.fixture
def receiver() -> Iterator[RemoteWriteReceiver]:
    with listening() as made:
        yield made


def halves(first: int, count: int, kind: int) -> bytes:
    """One side of `count` calls, each in a trace of its own."""
    ids = {"parent_span_id": (1).to_bytes(8, "big")} if kind == SERVER else {}
    spans = [
        span(1 if kind == CLIENT else 2, trace=number.to_bytes(16, "big"), kind=kind, **ids)
        for number in range(first, first + count)
    ]
    return request(spans, service_name="front" if kind == CLIENT else "back")


def test_increase_is_what_was_sent(tmp_path: Path, receiver: RemoteWriteReceiver) -> None:
    """Over a kill -9 while halves of edges wait, and a receiver that is away, every span and edge is counted once."""
    settings = {
        "REMOTE_WRITE_URL": receiver.url,
        "STRETTO_METRICS_GENERATOR__REGISTRY__COLLECTION_INTERVAL_S": "1",
        "STRETTO_METRICS_GENERATOR__PROCESSOR__SERVICE_GRAPHS__WAIT_S": "60",
    }
    with Cluster(tmp_path, SHORT_WINDOWS | settings) as cluster:
        client = Client(cluster)
        client.send(halves(1, 200, CLIENT))
        client.send(halves(201, 100, SERVER))
        eventually(lambda: receiver.increase(CALLS), lambda found: found == 300, 60, "calls before the kill")
        receiver.away = True
        client.send(halves(301, 50, CLIENT))
        client.kill_worker()
        client.send(halves(1, 200, SERVER))
        client.send(halves(201, 100, CLIENT))
        receiver.away = False
        client.send(halves(301, 50, SERVER))
        eventually(lambda: receiver.increase(CALLS), lambda found: found >= 700, 60, "calls after the kill")
        eventually(lambda: receiver.increase(EDGES), lambda found: found >= 350, 60, "edges")
        threading.Event().wait(3)  # nothing more may come
        assert (receiver.increase(CALLS, resets=False), receiver.increase(EDGES, resets=False)) == (700, 350)


def test_one_of_two_targets_is_away(tmp_path: Path, receiver: RemoteWriteReceiver) -> None:
    """The other gets everything in time, over kills; and after them the one that was away has all of it, too."""
    with listening() as away:
        away.away = True
        targets = [{"url": one.url, "queue_config": {"max_pushes": 2}} for one in (receiver, away)]
        registry = {"collection_interval_s": 0.5}
        settings = {"metrics_generator": {"registry": registry, "storage": {"remote_write": targets}}}
        (tmp_path / "stretto.yaml").write_text(yaml.safe_dump(settings))
        with Cluster(tmp_path, SHORT_WINDOWS) as cluster:
            client = Client(cluster)
            for part in range(2):
                for first in range(100 * part + 1, 100 * part + 100, 25):
                    client.send(halves(first, 25, CLIENT))
                    eventually(lambda: receiver.increase(CALLS), lambda found, n=first: found >= n + 24, 60, "calls")
                client.kill_worker()
            assert away.increase(CALLS) == 0
            away.away = False
            client.send(halves(201, 50, CLIENT))
            for one in (receiver, away):
                eventually(lambda one=one: one.increase(CALLS), lambda found: found >= 250, 60, "calls at the end")
            threading.Event().wait(2)  # nothing more may come
            assert [one.increase(CALLS, resets=False) for one in (receiver, away)] == [250, 250]


def test_overrides(tmp_path: Path, receiver: RemoteWriteReceiver) -> None:
    """A processor is switched off and on while the worker runs; a wrong file changes nothing."""
    overrides = tmp_path / "tenants.yaml"
    overrides.write_text("overrides: {}")
    settings = {
        "REMOTE_WRITE_URL": receiver.url,
        "STRETTO_METRICS_GENERATOR__REGISTRY__COLLECTION_INTERVAL_S": "0.5",
        "STRETTO_OVERRIDES__PER_TENANT_OVERRIDE_CONFIG": str(overrides),
        "STRETTO_OVERRIDES__PER_TENANT_OVERRIDE_PERIOD_S": "0.2",
    }
    good = "tempo_runtime_config_last_reload_successful"
    with Cluster(tmp_path, SHORT_WINDOWS | settings) as cluster:
        client = Client(cluster)
        client.send(halves(1, 20, CLIENT))
        eventually(lambda: receiver.increase(CALLS), lambda found: found == 20, 60, "calls")
        overrides.write_text("overrides: {single-tenant: {metrics_generator: {processors: [service-graphs]}}}")
        eventually(lambda: receiver.ended(CALLS), bool, 60, "the end of the series")
        client.send(halves(21, 20, SERVER))
        client.send(halves(21, 20, CLIENT))
        eventually(lambda: receiver.increase(EDGES), lambda found: found == 20, 60, "edges")
        overrides.write_text("overrides: {single-tenant: {metrics_generator: {processors: [spans]}}}")
        eventually(lambda: client.metric(good), lambda found: found == 0, 10, "a wrong file")
        overrides.write_text("overrides: {'*': {metrics_generator: {processors: [span-metrics]}}}")
        eventually(lambda: client.metric(good), lambda found: found == 1, 10, "a good file")
        eventually(lambda: receiver.ended(EDGES), bool, 60, "the end of the edges")
        client.send(halves(41, 20, CLIENT))
        eventually(lambda: receiver.increase(CALLS), lambda found: found == 40, 60, "calls after it")


def test_ends_without_kafka(tmp_path: Path, receiver: RemoteWriteReceiver) -> None:
    """A worker of the generator alone ends in time although Kafka is gone, and the receiver, too."""
    for folder in ("cluster", "generator"):
        (tmp_path / folder).mkdir()
    with Cluster(tmp_path / "cluster", SHORT_WINDOWS) as cluster, (tmp_path / "log").open("wb") as log:
        own = {
            "TARGET": "metrics-generator",
            "KAFKA_URL": cluster.kafka_address,
            "REMOTE_WRITE_URL": receiver.url,
            "STRETTO_DATA_DIR": str(tmp_path / "generator"),
            "STRETTO_METRICS_GENERATOR__REGISTRY__COLLECTION_INTERVAL_S": "0.5",
            "PORT": str(own_port()),
        }
        command = [
            Path(sys.executable).with_name("faust"),
            *["-A", "app", "-L", "uvloop", "worker", "-l", "info", "--without-web"],
        ]
        worker = subprocess.Popen(command, env=cluster.environment | own, cwd=tmp_path, stdout=log, stderr=log)
        try:
            Client(cluster).send(halves(1, 20, CLIENT))
            eventually(lambda: receiver.increase(CALLS), lambda found: found == 20, 60, "calls")
            receiver.away = True
            Client(cluster).send(halves(21, 20, CLIENT))
            eventually(lambda: receiver.refused, bool, 60, "a push that is refused")
            cluster.stop()
            worker.terminate()
            assert worker.wait(15) == 0
        finally:
            worker.kill()
            worker.wait()
