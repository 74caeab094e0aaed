"""The Stretto under test: `stretto run`, started as a user would, on free ports, with its own data folder."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks import measure
from tests.harness.ports import own_ports

COMMAND: Final = (str(Path(sys.executable).with_name("stretto")), "run")
READY_S: Final = 180.0  # the first start downloads a Kafka
STOP_S: Final = 20.0
POLL_S: Final = 0.1
LOG_LINES_SHOWN: Final = 30

# Short windows: a test sees segments and blocks within seconds.
SHORT_WINDOWS: Final = {
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "2",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "6",
    "STRETTO_LIVE_STORE__FLUSHED_RETENTION_S": "2",
    "STRETTO_STORAGE__TRACE__BLOCKLIST_POLL_S": "1",
    "STRETTO_KAFKA__WRITE_TIMEOUT_S": "3",
    "STRETTO_MEMBERS__HEARTBEAT_PERIOD": "500ms",
    "STRETTO_MEMBERS__HEARTBEAT_TIMEOUT": "3s",
    "STRETTO_MEMBERS__FORGET_TIMEOUT": "8s",
}
# Variables that would lead the measured process to the user's own settings and clusters.
OTHER_RECEIVERS: Final = {
    "jaeger_grpc": "JAEGER__PROTOCOLS__GRPC",
    "jaeger_http": "JAEGER__PROTOCOLS__THRIFT_HTTP",
    "jaeger_compact": "JAEGER__PROTOCOLS__THRIFT_COMPACT",
    "jaeger_binary": "JAEGER__PROTOCOLS__THRIFT_BINARY",
    "jaeger_sampling": "JAEGER__REMOTE_SAMPLING",
    "zipkin": "ZIPKIN",
}
FOREIGN: Final = frozenset(
    {"KAFKA_URL", "STORAGE_URL", "REMOTE_WRITE_URL", "PORT", "TARGET", "DEMO", "EMBEDDED_KAFKA_PORT"}
)


class BenchError(Exception):
    """The measurement cannot go on. The text is for the terminal: what, where, what to do."""


class Cluster:
    """A running Stretto. As a context manager: started and ready inside, stopped outside."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, command: Sequence[str] | None = None
    ) -> None:
        """`folder` exists; data and log go there. `settings`: further environment variables."""
        self.data_dir = folder / "data"
        self.log = folder / "stretto.log"
        http, grpc, otlp_http, kafka, *others = own_ports(4 + len(OTHER_RECEIVERS))
        # By their names in app.receivers.table.
        self.receivers = {name: f"127.0.0.1:{port}" for name, port in zip(OTHER_RECEIVERS, others, strict=True)}
        self.http_url = f"http://127.0.0.1:{http}"
        self.otlp_address = f"127.0.0.1:{grpc}"
        self.otlp_http_url = f"http://127.0.0.1:{otlp_http}"
        self.kafka_address = f"127.0.0.1:{kafka}"
        self.ready_s = 0.0  # from start to readiness
        self._folder = folder
        self._command = list(command or COMMAND)
        receivers = "STRETTO_DISTRIBUTOR__RECEIVERS__"
        otlp = f"{receivers}OTLP__PROTOCOLS__"
        self.workers = int((settings or {}).get("STRETTO_WORKERS") or 1)
        self._environment = {
            "STRETTO_WORKERS": "1",  # however many the machine could use
            **{name: value for name, value in os.environ.items() if not is_foreign(name)},
            "STRETTO_DATA_DIR": str(self.data_dir),
            "STRETTO_SERVER__HTTP_LISTEN_ADDRESS": "127.0.0.1",
            "PORT": str(http),
            f"{otlp}GRPC__ENDPOINT": self.otlp_address,
            f"{otlp}HTTP__ENDPOINT": f"127.0.0.1:{otlp_http}",
            **{f"{receivers}{name}__ENDPOINT": self.receivers[key] for key, name in OTHER_RECEIVERS.items()},
            "EMBEDDED_KAFKA_PORT": str(kafka),
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Raises: BenchError if it does not become ready"""
        started_s = time.monotonic()
        try:
            with self.log.open("wb") as log:
                # In its own folder, where no stretto.yaml of the user is found.
                self._process = subprocess.Popen(
                    self._command,
                    cwd=self._folder,
                    env=self._environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        except FileNotFoundError as error:
            raise BenchError(f"{self._command[0]} is not there: run make bench, which installs it") from error
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._wait_until_ready()
            undo.pop_all()
        self.ready_s = time.monotonic() - started_s
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the processes."""
        return dict(self._environment)

    @property
    def pid(self) -> int:
        """Of `stretto run`."""
        return self._running().pid

    def processes(self) -> list[measure.Process]:
        return measure.processes(self._running().pid)

    def worker_urls(self) -> dict[int, str]:
        """Where each of several workers alone serves the HTTP API, by its process id."""
        found: dict[int, str] = {}
        for one in self.processes():
            if one.name == "worker":
                variables = Path(f"/proc/{one.pid}/environ").read_bytes().decode(errors="replace").split("\0")
                address = dict(line.partition("=")[::2] for line in variables)["STRETTO_SERVER__OWN_ADDRESS"]
                found[one.pid] = f"http://{address}"
        return found

    def counts(self) -> measure.Counts:
        """The worker's counters. Raises: BenchError if the worker does not answer"""
        self._running()
        try:
            return measure.counts(f"{self.http_url}/metrics")
        except OSError as error:
            raise BenchError(f"{self.http_url}/metrics does not answer: {error}\n{self.log_end()}") from error

    def stop(self) -> None:
        """Stops it as Ctrl-C does. A process that has not ended after STOP_S seconds is killed, by pid."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        family = measure.processes(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"stretto did not stop within {STOP_S:g} s of SIGTERM", file=sys.stderr)
        # Also where the supervisor has ended: it may have left children behind.
        for one in family:
            # A pid that another program has got meanwhile goes with another name.
            if (now := measure.process(one.pid, process.pid)) and now.name == one.name:
                print(f"killed {one.name}, pid {one.pid}, which was left", file=sys.stderr)
                os.kill(one.pid, signal.SIGKILL)
        process.wait()

    def log_end(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"The end of {self.log}:", *lines])

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "used before it was started"
        if (status := self._process.poll()) is not None:
            raise BenchError(f"{' '.join(self._command)} ended with status {status}\n{self.log_end()}")
        return self._process

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S
        reason = "it does not listen"
        while time.monotonic() < deadline_s:
            self._running()
            try:
                with urllib.request.urlopen(f"{self.http_url}/ready", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                reason = error.read().decode(errors="replace").strip()
            except OSError:
                pass
            time.sleep(POLL_S)
        raise BenchError(f"not ready after {READY_S:g} s: {reason}\n{self.log_end()}")


def is_foreign(variable: str) -> bool:
    return variable.startswith("STRETTO_") or variable in FOREIGN
