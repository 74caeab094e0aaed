"""What the README says of the Procfile: `honcho start` runs its lines, several of one too, and they answer."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from app.settings.models import TARGETS
from app.standalone.ports import is_free
from tests.harness.brokers import Brokers
from tests.harness.client import START_NS, Client, eventually, request
from tests.harness.cluster import OTHER_RECEIVERS, SHORT_WINDOWS, is_foreign
from tests.harness.ports import own_port, own_ports
from tests.helpers.files import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TRACES, SPANS = 20, 3
PORT_STEP = 100  # from one line to the next: honcho's
STOP_S = 30.0
# What one command starts: lines, how many of some, further settings.
SEVERAL: Sequence[tuple[Sequence[str], Mapping[str, int], Mapping[str, str]]] = (
    (
        ("query-frontend", "distributor", "live-store", "querier", "compactor", "metrics-generator"),
        {"live-store": 2, "querier": 2, "query-frontend": 2},
        {"REMOTE_WRITE_URL": "http://127.0.0.1:9/api/v1/write"},  # nobody is there
    ),
    (("all",), {}, {}),
    (("scalable-single-binary",), {"scalable-single-binary": 2}, {"STRETTO_SERVER__REUSE_PORT": "true"}),
)


def base_port(lines: int) -> int:
    """One from which honcho can count."""
    while True:
        first = own_port()
        if all(is_free("127.0.0.1", first + PORT_STEP * n + i) for n in range(lines) for i in range(2)):
            return first


@contextmanager
def started(
    folder: Path, lines: Sequence[str], counts: Mapping[str, int], settings: Mapping[str, str]
) -> Iterator[Any]:
    """honcho and a Kafka. Of what it yields, `urls` has the processes' addresses by their names."""
    otlp, otlp_http, *others = own_ports(2 + len(OTHER_RECEIVERS))
    receivers = "STRETTO_DISTRIBUTOR__RECEIVERS__"
    first = base_port(len(lines))
    command = [sys.executable, "-m", "honcho", "start", "-e", os.devnull, "-d", str(ROOT), "-p", str(first)]
    if counts:
        command += ["-c", ",".join(f"{name}={count}" for name, count in counts.items())]
    with Brokers(folder) as brokers, (folder / "honcho.log").open("wb") as log:
        environment = {
            **{name: value for name, value in os.environ.items() if not is_foreign(name)},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **SHORT_WINDOWS,
            "KAFKA_URL": brokers.url,
            "STRETTO_DATA_DIR": str(folder / "data"),
            "STRETTO_SERVER__HTTP_LISTEN_ADDRESS": "127.0.0.1",
            f"{receivers}OTLP__PROTOCOLS__GRPC__ENDPOINT": f"127.0.0.1:{otlp}",
            f"{receivers}OTLP__PROTOCOLS__HTTP__ENDPOINT": f"127.0.0.1:{otlp_http}",
            **{
                f"{receivers}{key}__ENDPOINT": f"127.0.0.1:{port}"
                for key, port in zip(OTHER_RECEIVERS.values(), others, strict=True)
            },
            **settings,
        }
        process = subprocess.Popen([*command, *lines], env=environment, cwd=folder, stdout=log, stderr=log)
        urls = {
            f"{name}.{i + 1}": f"http://127.0.0.1:{first + PORT_STEP * n + i}"
            for n, name in enumerate(lines)
            for i in range(counts.get(name, 1))
        }
        try:
            yield SimpleNamespace(process=process, urls=urls, otlp_address=f"127.0.0.1:{otlp}", log=Path(log.name))
        finally:
            left = [process, *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)
            psutil.wait_procs(left, STOP_S)
            assert [one for one in left if isinstance(one, psutil.Process) and one.is_running()] == []


@pytest.mark.parametrize(("lines", "counts", "settings"), SEVERAL, ids=["targets", "all", "binary"])
def test_honcho_starts_it(
    tmp_path: Path, lines: Sequence[str], counts: Mapping[str, int], settings: Mapping[str, str]
) -> None:
    """Every process is ready, and knows the others; who answers queries finds what was sent, once."""
    with started(tmp_path, lines, counts, settings) as there:
        clients = {name: Client(None, url, there.otlp_address) for name, url in there.urls.items()}
        for name, client in clients.items():
            eventually(client.ready, bool, 90, f"{name} is not ready, see {there.log}")
        ask = [one for name, one in clients.items() if name.startswith(("query-frontend", "all", "scalable"))]
        ask[0].send(request("honcho", TRACES, SPANS))
        for client in ask:
            eventually(
                lambda client=client: len(client.get_json("/memberlist")["members"]), lambda n: n == len(clients), 30
            )
            client.expect_spans("honcho", TRACES * SPANS, 60)
            at_s = START_NS // 10**9
            query = '{ resource.service.name = "honcho" } | count_over_time()'
            (series,) = client.get("/api/metrics/query", q=query, start=at_s - 60, end=at_s + 60)["series"]
            assert series["value"] == TRACES * SPANS
        assert there.process.poll() is None
        assert "Traceback" not in there.log.read_text()


def test_no_line_is_left_out() -> None:
    """Every line of the Procfile is started above."""
    lines = {line.partition(":")[0] for line in (ROOT / "Procfile").read_text().splitlines()}
    assert {name for names, _, _ in SEVERAL for name in names} == lines
    assert lines >= set(TARGETS)
