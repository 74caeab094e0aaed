"""What breaks, and what must not break with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import grpc
import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.ports import own_ports

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def test_kafka_away(own_cluster: Cluster) -> None:
    """While Kafka does not answer, clients are told to come back, and nothing is acknowledged; then all goes on."""
    client = Client(own_cluster)
    client.send(request("before", 10, 2))
    kafka = client.pid("kafka")
    os.kill(kafka, signal.SIGSTOP)
    try:
        with pytest.raises(grpc.RpcError) as refused:
            client.send(request("stopped", 10, 2))
        status, headers, _ = client.post(request("stopped", 10, 2))
    finally:
        os.kill(kafka, signal.SIGCONT)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "grpc-status-details-bin" in dict(refused.value.trailing_metadata())
    assert (status, headers["Retry-After"]) == (503, "1")
    eventually(lambda: accepted(client, request("after", 10, 2)), bool, 60, "never accepted again")
    # What was refused may have been written since; sent again, it is acknowledged, and still there once.
    eventually(lambda: accepted(client, request("stopped", 10, 2)), bool, 60, "never accepted again")
    for service in ("before", "after", "stopped"):
        client.expect_spans(service, 20)


def test_kafka_killed(own_cluster: Cluster) -> None:
    """kill -9 of Kafka: it is started again, and every acknowledged span is there once."""
    client = Client(own_cluster)
    sent = 0
    for round_ in range(2):
        body = request("survivor", 50, 2, first_trace=1 + 100 * round_)
        eventually(lambda body=body: accepted(client, body), bool, 60, "never accepted again")
        sent += 100
        old = client.pid("kafka")
        os.kill(old, signal.SIGKILL)
        eventually(lambda: client.pids("kafka"), lambda pids, old=old: pids not in ([], [old]), 60, "no new Kafka")
    eventually(lambda: client.ready(), bool, 60, "not ready")
    found = eventually(lambda: client.span_count("survivor"), lambda n: n >= sent, 60)
    assert found == sent


def accepted(client: Client, body: bytes) -> bool:
    """False while Kafka is away. The same body may be sent again and again: it is written once."""
    try:
        client.send(body)
    except grpc.RpcError as err:
        if err.code() == grpc.StatusCode.UNAVAILABLE:
            return False
        raise
    return True


def test_started_twice(cluster: Cluster) -> None:
    """A second one ends with an error that names the port and the pid; the first goes on."""
    client = Client(cluster)
    elsewhere = {**cluster.environment, "STRETTO_DATA_DIR": str(cluster.data_dir.parent / "second")}
    for environment, named in (
        (elsewhere, [f"port {cluster.http_url.rpartition(':')[2]}", f"pid {client.pid('worker')}"]),
        (cluster.environment, ["pid", f"port {cluster.http_url.rpartition(':')[2]}"]),
    ):
        second = subprocess.run(
            [str(Path(sys.executable).with_name("stretto")), "run"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "Traceback" not in second.stderr
        for word in named:
            assert word in second.stderr
    assert client.ready()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stops_within_5_s_and_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    """Worker and Kafka are gone, and what was acknowledged before is found after the next start."""
    with Cluster(tmp_path, SHORT_WINDOWS) as running:
        client = Client(running)
        client.send(request("stopped", 20, 3))
        family = [process.pid for process in running.processes()]
        (supervisor,) = [pid for pid in family if "stretto" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[1]]
        started_s = time.monotonic()
        os.kill(supervisor, how)
        eventually(lambda: [pid for pid in family if alive(pid)], lambda pids: not pids, 10, "still there")
        assert time.monotonic() - started_s < 5
        assert "killed" not in running.log.read_text()
    with Cluster(tmp_path, SHORT_WINDOWS) as again:
        client = Client(again)
        client.expect_spans("stopped", 60)


def alive(pid: int) -> bool:
    """Not a zombie either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_separate_processes_and_tenants(cluster: Cluster, tmp_path: Path) -> None:
    """A distributor and a live store, each a process, on topics of their own, as the Procfile starts them; tenants."""
    otlp = "STRETTO_DISTRIBUTOR__RECEIVERS__OTLP__PROTOCOLS__"
    live_http, receiver_http, otlp_grpc, otlp_http = own_ports(4)
    common = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STRETTO_")},
        **SHORT_WINDOWS,
        "KAFKA_URL": f"kafka://{cluster.kafka_address}",
        "STRETTO_KAFKA__TOPIC": "spans-apart",
        "STRETTO_KAFKA__OTLP_TOPIC": "otlp-apart",
        "STRETTO_KAFKA__CONSUMER_GROUP_PREFIX": "apart",
        "STRETTO_MULTITENANCY_ENABLED": "true",
        "STRETTO_STORAGE__TRACE__LOCAL__PATH": str(tmp_path / "blocks"),
    }
    targets = {
        "distributor": {
            "PORT": str(receiver_http),
            f"{otlp}GRPC__ENDPOINT": f"127.0.0.1:{otlp_grpc}",
            f"{otlp}HTTP__ENDPOINT": f"127.0.0.1:{otlp_http}",
        },
        "live-store": {"PORT": str(live_http)},
    }
    processes = []
    try:
        for target, own in targets.items():
            environment = {**common, **own, "TARGET": target, "STRETTO_DATA_DIR": str(tmp_path / target)}
            faust = [str(Path(sys.executable).with_name("faust")), "-A", "app", "worker", "-l", "info"]
            with (tmp_path / f"{target}.log").open("wb") as log:
                processes.append(subprocess.Popen(faust, env=environment, stdout=log, stderr=log, cwd=tmp_path))
        live = _Apart(cluster, live_http, otlp_grpc)
        eventually(live.ready, bool, 60, "not ready")
        eventually(lambda: socket.create_connection(("127.0.0.1", otlp_grpc), 1), bool, 60).close()
        live.send(request("apart", 20, 3), X_Scope_OrgID="one")
        live.send(request("apart", 20, 3), x_scope_orgid="two")
        with pytest.raises(grpc.RpcError) as refused:
            live.send(request("apart", 1, 1))
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(urllib.error.HTTPError, match="401"):
            live.get("/api/search", q="{ }")
        for tenant, expected in (("one", 20), ("two", 20), ("three", 0)):
            live.tenant = tenant
            eventually(lambda: len(live.search("{ }")), lambda n, e=expected: n >= e)
            assert len(live.search("{ }")) == expected
        flushed = tmp_path / "blocks" / "blocks"
        eventually(lambda: sorted(p.name for p in flushed.iterdir()), lambda names: names == ["one", "two"])
        live.tenant = "one"
        assert len(live.search("{ }")) == 20
        # Also while Kafka does not answer, a worker ends when it is told to.
        kafka = Client(cluster).pid("kafka")
        os.kill(kafka, signal.SIGSTOP)
        try:
            for process in processes:
                process.terminate()
            assert [process.wait(8) for process in processes] == [0, 0]
        finally:
            os.kill(kafka, signal.SIGCONT)
    finally:
        for process in processes:
            process.kill()
            process.wait()


class _Apart(Client):
    """A client of processes that are not the cluster's."""

    def __init__(self, cluster: Cluster, http: int, otlp: int) -> None:
        super().__init__(cluster)
        self.url, self.otlp, self.tenant = f"http://127.0.0.1:{http}", f"127.0.0.1:{otlp}", ""

    def send(self, body, within_s=30, **metadata):
        with grpc.insecure_channel(self.otlp) as channel:
            headers = [(key.lower().replace("_", "-"), value) for key, value in metadata.items()]
            channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(
                body, timeout=within_s, metadata=headers
            )

    def get(self, path, **params):
        url = f"{self.url}{path}?{urllib.parse.urlencode(params)}"
        headers = {"X-Scope-OrgID": self.tenant} if self.tenant else {}
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as reply:
            return json.loads(reply.read())

    def ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5):
                return True
        except urllib.error.HTTPError:
            return False
