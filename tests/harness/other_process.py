"""One more process of a cluster, beside those of `stretto run`, as the Procfile starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.harness.client import Client
from tests.harness.cluster import OTHER_RECEIVERS, Cluster
from tests.harness.ports import own_ports

STOP_S = 30.0  # as Kubernetes does: a live store hands its partitions over


class OtherProcess:
    """As a context manager: started inside, killed outside if it is still there then."""

    def __init__(self, cluster: Cluster, folder: Path, target: str, name: str = "", **environment: str) -> None:
        """folder: of its data and log, under `name`. environment: further variables"""
        name = name or target
        self.log = folder / f"{name}.log"
        self._folder = folder
        http, internal, grpc, otlp_http, *others = own_ports(4 + len(OTHER_RECEIVERS))
        receivers = "STRETTO_DISTRIBUTOR__RECEIVERS__"
        self.http_url = f"http://127.0.0.1:{http}"
        self.otlp_address = f"127.0.0.1:{grpc}"
        self._environment = {
            # Unless the cluster itself has them from elsewhere.
            "KAFKA_URL": f"kafka://{cluster.kafka_address}",
            "STORAGE_URL": f"file://{cluster.data_dir / 'blocks'}",
            **cluster.environment,
            "STRETTO_DATA_DIR": str(folder / name),
            "STRETTO_SERVER__GRPC_LISTEN_PORT": str(internal),
            "PORT": str(http),
            "TARGET": target,
            f"{receivers}OTLP__PROTOCOLS__GRPC__ENDPOINT": self.otlp_address,
            f"{receivers}OTLP__PROTOCOLS__HTTP__ENDPOINT": f"127.0.0.1:{otlp_http}",
            **{
                f"{receivers}{key}__ENDPOINT": f"127.0.0.1:{port}"
                for key, port in zip(OTHER_RECEIVERS.values(), others, strict=True)
            },
            **environment,
        }
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the process."""
        return dict(self._environment)

    @property
    def pid(self) -> int:
        assert self._process is not None, "used before it was started"
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether no process runs."""
        return self._process is None or self._process.poll() is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, python: str = sys.executable, **environment: str) -> None:
        """Also again, after it has ended. python: another interpreter. environment: other variables, from now on"""
        self._environment |= environment
        command = [python, "-m", "faust", "-A", "app", "-L", "uvloop", "worker", "-l", "info"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--without-web"], env=self._environment, stdout=log, stderr=log, cwd=self._folder
            )

    def stop(self, within_s: float = STOP_S) -> int:
        """As an orchestrator does. Returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(within_s)

    def kill(self) -> None:
        """kill -9; nothing if it has ended."""
        if self._process is not None and not self.ended:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def client(self) -> Client:
        """One that asks this process."""
        return Client(self._cluster, self.http_url, self.otlp_address)
